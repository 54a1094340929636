"""The process of a study's job: it works on the study until that ends, and writes how it ended."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

from kdengine.errors import BadInput, KdError, Problem, Stopped
from kdengine.jobs import RUNNING_LOCK, classify_exception
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.tracking.mirroring import Companion
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies import storage, tuned
from studies.controller import Controller

log = logging.getLogger(__name__)

TURN_S = 1.0


class StudyStopped(Stopped):
    """A stop of the study was requested; its message says what became of its trials."""

    def __init__(self, message: str) -> None:
        super().__init__(signal.SIGTERM)
        self.args = (message,)


def control(workspace: Workspace, job_id: str) -> None:
    """Works on a study until it ends; called in the process of its job.

    Raises:
        BadInput: another process works on it.
        KdError: it failed or was stopped, after that was written to its status.
    """
    folder = workspace.existing_run(job_id)
    with files.lock(folder.path / RUNNING_LOCK, blocking=False, wait_s=3.0) as mine:
        if not mine:
            raise BadInput(Problem("study", f"{job_id} is being worked on by another process"))
        attempt = int(folder.status().get("attempt") or 0) + 1
        now = time.time()
        folder.update_status(
            state=State.STARTING, phase="starting", process=process_identity(home=folder.home),
            attempt=attempt, started=now, ended=None, reason=None, message=None, advice=None, exit_code=None,
            kind="study",
        )  # fmt: skip
        companion = Companion(workspace, folder)
        try:
            _work(workspace, folder, companion)
        except BaseException as error:
            failure = classify_exception(error)
            code = error.exit_code if isinstance(error, KdError) else 1
            _end(folder, companion, failure.state, exit_code=code, **failure._asdict())
            raise
        _end(folder, companion, State.FINISHED, exit_code=0)


def _end(folder: RunDirectory, companion: Companion, state: State, **outcome: Any) -> None:
    """Writes how it ended; the rest goes to MLflow."""
    try:
        folder.update_status(state=state, ended=time.time(), **outcome)
    except KdError as error:  # a full disk: the next to read it finds its process gone
        log.error("the outcome could not be written: %s", error)
        return
    companion.finish()


def _work(workspace: Workspace, folder: RunDirectory, companion: Companion) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with storage.reachable(workspace):
        connected = storage.connect(workspace)
        name = folder.id.removeprefix(STUDY_PREFIX)
        controller = Controller(storage.open_study(connected, name), workspace, folder)
        folder.update_status(state=State.RUNNING, phase="searching")
        companion.wake()
        while not controller.turn():
            if stop.wait(TURN_S):
                controller.stop()
                raise StudyStopped("stopped; each of its runs goes on from its checkpoint when it is resumed")
    if controller.plan.comparison and not controller.ending:
        tuned.advance(controller.plan.comparison, workspace, ended=name)
    if controller.ending:
        raise StudyStopped("the current trials have ended and no other was started, as requested")
