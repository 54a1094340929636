"""The places of MLflow's artifacts in a workspace that was moved or copied since."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

from kdengine.workspace import Workspace

log = logging.getLogger(__name__)


def take_home(workspace: Workspace) -> None:
    """Leads MLflow's database to the artifacts beside it, when it still names those where the workspace was before.

    MLflow keeps whole paths: a copy would write into the original's folder.
    """
    with closing(sqlite3.connect(workspace.mlflow_db, timeout=10, isolation_level=None)) as db:
        if not _strays(db, workspace):
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            for experiment, old, new in _strays(db, workspace):
                for table, column in _PLACES:
                    db.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE experiment_id = ? AND substr({column} || '/', 1, ?) = ?",
                        (new, len(old) + 1, experiment, len(old) + 1, f"{old}/"),
                    )
            db.execute("COMMIT")
        except sqlite3.Error:
            db.execute("ROLLBACK")
            raise
    log.info("MLflow's artifacts of %s are looked for in %s now", workspace.root, workspace.mlflow_artifacts)


_PLACES = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def _strays(db: sqlite3.Connection, workspace: Workspace) -> list[tuple[int, str, str]]:
    """(id, where its artifacts are said to be, where they are) of each experiment of ours that names another place."""
    found = []
    for experiment, name, old in db.execute("SELECT experiment_id, name, artifact_location FROM experiments"):
        new = (workspace.mlflow_artifacts / name).as_uri()
        # Only what `_experiment` once wrote: people may keep experiments of their own, anywhere.
        ours = new.removeprefix(workspace.root.as_uri())
        if old and old != new and old.startswith("file:") and old.endswith(ours):
            found.append((experiment, old, new))
    return found
