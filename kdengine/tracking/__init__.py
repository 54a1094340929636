"""MLflow: a mirror of the runs' folders, of which the folders know all."""

from kdengine.tracking.comparisons import log_comparison
from kdengine.tracking.deletion import delete_owed, delete_run, forget, owed_deletions
from kdengine.tracking.notes import address, mlflow_run_id
from kdengine.tracking.runs import behind, mirror
from kdengine.tracking.server import Unreachable, available, own_store, prepare, reach, shown, tracking_uri

__all__ = [
    "Unreachable",
    "address",
    "available",
    "behind",
    "delete_owed",
    "delete_run",
    "forget",
    "log_comparison",
    "mirror",
    "mlflow_run_id",
    "owed_deletions",
    "own_store",
    "prepare",
    "reach",
    "shown",
    "tracking_uri",
]
