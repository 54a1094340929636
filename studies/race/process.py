"""The process of a race's job: it takes one step after another until there is a verdict."""

from __future__ import annotations

import logging
import threading

from kdengine.tracking.mirroring import Companion
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies import steering, storage
from studies.race import steps
from studies.race.plan import RacePlan, read_race
from studies.race.standing import Standing
from studies.race.words import phase, sentence
from studies.steering import SteeringStopped

TURN_S = 2.0
log = logging.getLogger(__name__)


def control(workspace: Workspace, job_id: str) -> None:
    """Steers a race until it ends; raises as `steering.control`."""

    def work(folder: RunDirectory, companion: Companion, stop: threading.Event) -> None:
        race = read_race(folder.path)
        with storage.reachable(workspace):
            _work(race, workspace, folder, companion, stop)

    steering.control(workspace, job_id, "race", work)


def _work(
    race: RacePlan, workspace: Workspace, folder: RunDirectory, companion: Companion, stop: threading.Event
) -> None:
    folder.update_status(state=State.RUNNING)
    companion.wake()
    steps.take_up(race, workspace)
    said = ""
    while True:
        now = steps.advance(race, workspace)
        if (words := phase(now)) != said:
            said = words
            folder.update_status(phase=said)
        if now.over:
            break
        if stop.wait(TURN_S):
            steps.stop(race, workspace)
            raise SteeringStopped("stopped; each of its runs goes on from its checkpoint when the race is resumed")
    _conclude(now, folder)


def _conclude(now: Standing, folder: RunDirectory) -> None:
    said = sentence(now)
    folder.update_status(phase="over", result=said)
    log.info("%s", said)
