"""The process of a study's job."""

from __future__ import annotations

import threading

from kdengine.jobs.job import STUDY_PREFIX
from kdengine.tracking.mirroring import Companion
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies import steering, storage, tuned
from studies.controller import Controller
from studies.steering import SteeringStopped

TURN_S = 1.0


def control(workspace: Workspace, job_id: str) -> None:
    """Works on a study until it ends; raises as `steering.control`."""

    def work(folder: RunDirectory, companion: Companion, stop: threading.Event) -> None:
        _work(workspace, folder, companion, stop)

    steering.control(workspace, job_id, "study", work)


def _work(workspace: Workspace, folder: RunDirectory, companion: Companion, stop: threading.Event) -> None:
    with storage.reachable(workspace):
        connected = storage.connect(workspace)
        name = folder.id.removeprefix(STUDY_PREFIX)
        controller = Controller(storage.open_study(connected, name), workspace, folder)
        folder.update_status(state=State.RUNNING, phase="searching")
        companion.wake()
        while not controller.turn():
            if stop.wait(TURN_S):
                controller.stop()
                raise SteeringStopped("stopped; each of its runs goes on from its checkpoint when it is resumed")
    if controller.plan.comparison and not controller.ending:
        tuned.advance(controller.plan.comparison, workspace, ended=name)
    if controller.ending:
        raise SteeringStopped("the current trials have ended and no other was started, as requested")
