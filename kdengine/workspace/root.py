"""Where everything that a person makes is kept: runs, teachers, the job queue, MLflow's database, data sets, caches."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from kdengine.errors import BadInput, Problem
from kdengine.workspace import format as workspace_format
from kdengine.workspace.rundir import RUN_ID, RunDirectory


class Workspace:
    """The folder named by ``KD_HOME`` (default ``./kd-workspace``).

    Args:
        root: overrides ``KD_HOME``. Nothing is created until something is written.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root or os.environ.get("KD_HOME") or "kd-workspace").expanduser().resolve()
        self.runs = self.root / "runs"
        self.datasets = self.root / "datasets"
        self.cache = self.root / "cache"
        self.comparisons = self.root / "comparisons"
        self.teachers = self.root / "teachers"
        self.jobs_db = self.root / "jobs.db"
        self.mlflow_db = self.root / "mlflow.db"
        self.mlflow_artifacts = self.root / "artifacts"
        self.studies_db = self.root / "studies.db"

    def run(self, run_id: str, field: str = "run") -> RunDirectory:
        """The folder of a run, existing or not; raises BadInput for what cannot be an id ("../elsewhere" among it)."""
        if not RUN_ID.match(run_id):
            raise BadInput(Problem(field, f"{run_id!r} is not a run id (letters, digits, '.', '_', '-', 64 at most)"))
        return RunDirectory(self.runs / run_id)

    def existing_run(self, run_id: str, field: str = "run") -> RunDirectory:
        """The folder of a run that must exist. A unique beginning of the id is enough. Raises BadInput otherwise."""
        self.settle()
        run = self.run(run_id, field)
        if run.exists:
            return run
        near = [found for found in self.list_runs() if found.id.startswith(run_id) or found.id.endswith(run_id)]
        if len(near) == 1:
            return near[0]
        hint = f"several begin or end so: {', '.join(r.id for r in near[:5])}" if near else "`kd jobs` lists all"
        raise BadInput(Problem(field, f"there is no run {run_id!r} in {self.runs}; {hint}"))

    def list_runs(self) -> list[RunDirectory]:
        """All runs, oldest first."""
        if not self.runs.is_dir():
            return []
        folders = sorted(path for path in self.runs.iterdir() if path.is_dir() and RUN_ID.match(path.name))
        return [run for run in map(RunDirectory, folders) if run.exists]

    def settle(self, *, new: bool = False) -> None:
        """Brings a workspace of an earlier version up to date; raises BadInput for one of a newer version.

        Args:
            new: whether it is about to be written to, and so to become a workspace where it is none yet.
        """
        workspace_format.settle(self.root, new=new)

    def check_writable(self) -> None:
        """Raises BadInput when the workspace cannot be written to, or is of a newer version."""
        self.settle()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):  # nameless, so that two callers at once cannot meet
                pass
        except OSError as error:
            raise BadInput(
                Problem("KD_HOME", f"the workspace {self.root} cannot be written to ({error.strerror}); set KD_HOME")
            ) from error
        self.settle(new=True)


def sqlite_url(path: Path) -> str:
    """URL of a SQLite file for those who ask for one; whatever the path holds (``%``, ``?``, ``#``) stays a path."""
    # Imported here: most that know a workspace open no such database.
    from sqlalchemy import URL

    # The driver is named because MLflow takes the rest of a plain "sqlite:///" for a path, and makes its folder.
    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string(hide_password=False)
