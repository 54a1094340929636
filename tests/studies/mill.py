"""A queue that is worked off by hand: jobs run, learn and end in a test's own time, without a process."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdengine.jobs import Job, JobStore, Placement
from kdengine.machine.nvml import Inventory
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import actions as control
from studies import storage
from studies.controller import Controller
from studies.plan import StudyPlan, read

EXPERIMENT = {"data": "digits", "student": "resnet20", "method": "byot", "recipe": {"epochs": 6}}
SLOTS = 2


def small_plan(name: str = "small", **more: Any) -> StudyPlan:
    """Three settings of BYOT, six epochs, eight trials."""
    mapping: dict[str, Any] = {"name": name, "experiment": EXPERIMENT, "budget": {"trials": 8}}
    return read(mapping | {"space": {"method.temperature": "1..8, log", "method.alpha": ""}, "startup": 3} | more)


def goodness(spec: Mapping[str, Any]) -> float:
    """Accuracy that a run comes to: best at temperature 3 and alpha 0.5."""
    method = spec["method"]
    off = abs(math.log(method["temperature"] / 3)) + abs(method["alpha"] - 0.5)
    return 0.9 - 0.3 * off + 0.001 * spec["seed"]


def isolate(patch: pytest.MonkeyPatch, root: Path) -> None:
    """A workspace of its own, no MLflow, and no networks tried: that is tested elsewhere."""
    patch.setenv("KD_HOME", str(root))
    patch.delenv("KD_STUDY_STORAGE", raising=False)
    patch.setattr("kdengine.tracking.available", lambda: False)
    patch.setattr("kdengine.assembly.preflight", lambda spec, workspace: None)


class Mill:
    """A workspace whose jobs the test works off."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store = JobStore(workspace)
        self.only = ""

    def begin(self, plan: StudyPlan) -> StudyPlan:
        """As the shell does, without a supervisor."""
        control.begin(plan, self.workspace)
        return plan

    def controller(self, plan: StudyPlan) -> Controller:
        """A fresh one, as after a crash."""
        study = storage.open_study(storage.connect(self.workspace), plan.name)
        placement = Placement(Inventory, {"KD_CPU_SLOTS": str(SLOTS)})
        return Controller(study, self.workspace, self.workspace.run(plan.job_id), placement)

    def runs(self) -> list[Job]:
        return [job for job in self.store.jobs() if not job.is_controller and job.id.startswith(self.only)]

    def play(self) -> None:
        """Every job moves on: it starts, learns one epoch more, does as it was asked, or ends."""
        for job in reversed(self.runs()):
            if job.state is State.QUEUED:
                self.store.change(job.id, {State.QUEUED}, state=State.RUNNING, attempt=job.attempt + 1)
                self.workspace.run(job.id).append_event({"kind": "start", "attempt": job.attempt + 1})
            elif not job.state.ended:
                self._move_on(job)

    def _move_on(self, job: Job) -> None:
        run = self.workspace.run(job.id)
        if job.request == "prune":
            return self.end(job, State.PRUNED, "pruned")
        if job.request is not None:
            return self.end(job, State.STOPPED, "stopped")
        spec = yaml.safe_load(run.spec_file.read_text())
        epochs = spec["recipe"]["epochs"]
        epoch = run.status().get("progress", {}).get("epoch", 0) + 1
        accuracy = goodness(spec) * (1 - 0.5 / epoch)
        run.append_event({"kind": "epoch", "epoch": epoch, "validation": {"accuracy": accuracy, "loss": 1 - accuracy}})
        best = {"accuracy": accuracy, "epoch": epoch}
        run.update_status(progress={"epoch": epoch, "epochs": epochs}, best=best)
        if epoch == epochs:
            self.end(job, State.FINISHED, None)
        return None

    def end(self, job: Job, state: State, reason: str | None, message: str = "") -> None:
        words = {"state": state, "reason": reason, "message": message or reason}
        self.workspace.run(job.id).update_status(**words)
        self.store.change(job.id, set(State), ended=time.time(), request=None, **words)

    def work(self, plan: StudyPlan, turns: int = 400, only: str = "") -> None:
        """Controller and queue in turns until the study is done; of the jobs, those whose id begins so."""
        self.only = only
        controller = self.controller(plan)
        for _ in range(turns):
            if controller.turn():
                return
            self.play()
        raise AssertionError(f"not done after {turns} turns: {[(job.id, str(job.state)) for job in self.store.jobs()]}")
