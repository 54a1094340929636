"""Runs that were started from a shell: they get a row, and row and status are kept together."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from kdengine.errors import KdError
from kdengine.jobs.guarded import guarded
from kdengine.jobs.job import ACTIVE, ENDED, Job
from kdengine.jobs.of_runs import identity_values, works_now
from kdengine.jobs.store import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

log = logging.getLogger(__name__)

# How long a status that contradicts its row is left alone: whoever writes both may be between the two.
UNSETTLED_S = 5.0


class ShellRuns:
    """Looks at all run folders now and then.

    Args:
        workspace: whose runs.
        store: its queue.
        scan_s: seconds between two looks.
    """

    def __init__(self, workspace: Workspace, store: JobStore, scan_s: float) -> None:
        self.workspace = workspace
        self.store = store
        self.scan_s = scan_s
        self._settled: dict[str, tuple[int, int]] = {}
        self._next_scan = 0.0

    def scan(self) -> None:
        """Looks at the folders of all runs that are not under way here."""
        if time.monotonic() < self._next_scan:
            return
        rows = {job.id: job for job in self.store.jobs()}
        done = [guarded(self._look_at, run, rows.get(run.id)) for run in self.workspace.list_runs()]
        self._next_scan = time.monotonic() + self.scan_s
        if not all(done):
            raise KdError("some run folders could not be read; see above")

    def _look_at(self, run: RunDirectory, job: Job | None) -> None:
        if job is None:
            adopted = self.store.adopt(run)
            if adopted:
                log.info("%s was started from a shell; it is in the table now", run.id)
            return
        if job.state in ACTIVE:
            return
        mark = _file_mark(run.status_file)
        if job.state.ended and self._settled.get(run.id) == mark:
            return
        if self._compare(run, job):
            self._settled[run.id] = mark

    def _compare(self, run: RunDirectory, job: Job) -> bool:
        """Brings row and status.json together; True when they agree and need no look before the file changes again."""
        status = run.status()
        said = State(status.get("state") or State.QUEUED)
        process = status.get("process") or {}
        if works_now(run, status):
            live = said if said in ACTIVE else State.STARTING
            values = identity_values(process) | {"start_token": None, "slot": None, "request": None, "ended": None}
            self.store.change(job.id, ENDED | {State.QUEUED}, state=live, stopping_since=None, **values)
            return False
        if job.state is State.QUEUED:
            return False
        if "damaged" in status:
            return True  # the row knows better
        if said.ended:
            if said is not job.state:
                words = {key: status.get(key) for key in ("reason", "message", "advice", "exit_code")}
                self.store.change(job.id, ENDED, state=said, told=False, **words)
            return True
        if time.time() - run.status_file.stat().st_mtime > UNSETTLED_S:
            self.store.repair_status(job.id)
        return False


def _file_mark(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
