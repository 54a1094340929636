"""The process of a job that only steers others: it works until that ends, and writes how it ended."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from kdengine.errors import BadInput, KdError, Problem, Stopped
from kdengine.jobs import RUNNING_LOCK, classify_exception
from kdengine.tracking.mirroring import Companion
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

log = logging.getLogger(__name__)

Work = Callable[[RunDirectory, Companion, threading.Event], None]
"""Steers until it is done or the event is set, as a stop sets it; then it raises `SteeringStopped`."""


class SteeringStopped(Stopped):
    """A stop was requested; its message says what became of the runs."""

    def __init__(self, message: str) -> None:
        super().__init__(signal.SIGTERM)
        self.args = (message,)


def control(workspace: Workspace, job_id: str, kind: str, work: Work) -> None:
    """Works on what a job steers until it ends; called in the process of that job.

    Args:
        workspace: where it is.
        job_id: of the job.
        kind: what it steers: "study", "race".
        work: what is done.

    Raises:
        BadInput: another process works on it.
        KdError: it failed or was stopped, after that was written to its status.
    """
    folder = workspace.existing_run(job_id)
    with files.lock(folder.path / RUNNING_LOCK, blocking=False, wait_s=3.0) as mine:
        if not mine:
            raise BadInput(Problem(kind, f"{job_id} is being worked on by another process"))
        attempt = int(folder.status().get("attempt") or 0) + 1
        now = time.time()
        folder.update_status(
            state=State.STARTING, phase="starting", process=process_identity(home=folder.home),
            attempt=attempt, started=now, ended=None, reason=None, message=None, advice=None, exit_code=None,
            kind=kind,
        )  # fmt: skip
        companion = Companion(workspace, folder)
        try:
            work(folder, companion, _stop_of_signals())
        except BaseException as error:
            failure = classify_exception(error)
            code = error.exit_code if isinstance(error, KdError) else 1
            _end(folder, companion, failure.state, exit_code=code, **failure._asdict())
            raise
        _end(folder, companion, State.FINISHED, exit_code=0)


def _stop_of_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _end(folder: RunDirectory, companion: Companion, state: State, **outcome: Any) -> None:
    """Writes how it ended; the rest goes to MLflow."""
    try:
        folder.update_status(state=state, ended=time.time(), **outcome)
    except KdError as error:  # a full disk: the next to read it finds its process gone
        log.error("the outcome could not be written: %s", error)
        return
    companion.finish()
