"""Deletes a run in MLflow, at once or when its server can be reached again."""

from __future__ import annotations

import logging
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from kdengine.errors import DamagedFile, KdError
from kdengine.jobs import JobStore
from kdengine.tracking.notes import mlflow_run_id
from kdengine.tracking.runs import found_run
from kdengine.tracking.server import available, client_of, in_words, reach
from kdengine.workspace import Workspace, files

log = logging.getLogger(__name__)


def delete_run(store: JobStore, run_id: str) -> None:
    """Deletes a run, its row in the queue and its folder, and marks its MLflow run as deleted.

    A run whose notes of its MLflow run are damaged is deleted all the same. Raises BadInput as `JobStore.delete` does.
    """
    mlflow_run = None
    with suppress(DamagedFile):
        mlflow_run = mlflow_run_id(store.workspace.run(run_id))
    store.delete(run_id)
    forget(store.workspace, mlflow_run)


def forget(workspace: Workspace, mlflow_run: str | None) -> None:
    """Marks a run of MLflow as deleted; nothing for None. Its id is to be read before the folder is deleted.

    When MLflow does not respond, the deletion is noted; `delete_owed` makes up for it.
    """
    if not mlflow_run or not available():
        return
    try:
        _delete(workspace, mlflow_run)
    except KdError as error:
        _note_deletions(workspace, add={mlflow_run})
        log.warning("%s; it will be deleted there when that is possible again", error)


def owed_deletions(workspace: Workspace) -> list[str]:
    """Ids of the runs of MLflow that are still to be deleted there."""
    return list(files.read_json(_deletions_file(workspace), {}).get("delete", []))


def delete_owed(workspace: Workspace, mlflow_run: str) -> None:
    """Makes up for one of `owed_deletions`; raises KdError when MLflow does not take it this time either."""
    _delete(workspace, mlflow_run)
    _note_deletions(workspace, remove={mlflow_run})


def _delete(workspace: Workspace, mlflow_run: str) -> None:
    reach(workspace)
    with in_words(workspace, f"the deletion of {mlflow_run}"):
        client = client_of(workspace)
        if found_run(client, mlflow_run) is not None:
            client.delete_run(mlflow_run)


def _deletions_file(workspace: Workspace) -> Path:
    return workspace.root / "mlflow-owed.json"


def _note_deletions(workspace: Workspace, add: Set[str] = frozenset(), remove: Set[str] = frozenset()) -> None:
    with files.lock(workspace.root / ".mlflow-owed.lock"):
        left = (set(owed_deletions(workspace)) | add) - remove
        if left:
            files.write_json(_deletions_file(workspace), {"delete": sorted(left)})
        else:
            _deletions_file(workspace).unlink(missing_ok=True)
