"""What a run's folder says to the queue, and who still needs the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdengine.errors import DamagedFile
from kdengine.jobs.job import UNENDED, Job
from kdengine.workspace import Workspace
from kdengine.workspace.identity import works_for
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State


def works_now(run: RunDirectory, status: Mapping[str, Any] | None = None) -> bool:
    """Whether a process is at work on the run, here. A notebook that lives on after its run is not.

    Args:
        run: the run.
        status: its status, where that was read already.
    """
    status = run.status() if status is None else status
    state = status.get("state")
    return not (state and State(state).ended) and works_for(status.get("process") or {}, run.home)


def needed_by(workspace: Workspace, run_id: str) -> list[str]:
    """Runs that still need the network of a run as their teacher: those under way, and those that can be resumed."""
    needing = UNENDED | {state for state in State if state.resumable}
    found = ((run.id, run.status()) for run in workspace.list_runs() if run.id != run_id)
    return [name for name, status in found if status.get("teacher_run") == run_id and status.get("state") in needing]


def identity_values(identity: dict[str, Any]) -> dict[str, Any]:
    """The columns that name a process, from what ``identity.process_identity`` returned."""
    return {key: identity.get(key) for key in ("pid", "create_time", "boot_id", "workspace")}


def end_status(job: Job) -> dict[str, Any]:
    """What status.json says of a job that has ended."""
    return {key: getattr(job, key) for key in ("state", "reason", "message", "advice", "exit_code")}


def outcome_values(run: RunDirectory, status: dict[str, Any]) -> dict[str, Any]:
    """The columns that say how a run ended, from its status."""
    values = {key: status.get(key) for key in ("reason", "message", "advice", "exit_code")}
    return values | {"ended": _written_at(run.status_file), "attempt": status.get("attempt") or 0}


def age_mark(run: RunDirectory) -> float:
    """When the folder of a run was made, in seconds since 1970."""
    return _written_at(run.spec_file)


def _written_at(path: Path) -> float:
    """When a file was written; now, when it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def spec_text(run: RunDirectory) -> str:
    """For its labels alone: a run with a damaged spec is listed without any."""
    try:
        return run.spec_text()
    except (FileNotFoundError, DamagedFile):
        return ""
