"""A workspace with the real supervisor and real trainers, and what kills them: shared by all tests of this folder.

A round: launch a run, wait for a moment, kill -9 one process, start what must be started again, and see the run to its
end. Other processes join as a `Victim` in ``World.victims``.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import psutil
from dashboard import Dashboard
from support import PATIENCE_S

from kdengine import ExperimentSpec, tracking
from kdengine.assembly.launch import launch
from kdengine.jobs import Job, JobStore, ensure_supervisor, stop_supervisor, supervisor_identity
from kdengine.processes import is_alive
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import ELSEWHERE, State

EPOCHS, STEPS_PER_EPOCH = 4, 6
STEPS = EPOCHS * STEPS_PER_EPOCH
LOOK_S = 0.02
STARTING_SHARE = 0.2
"""Share of the moments that fall before the first step."""
MAX_RESUMES = 2


def tiny_spec(**changes: Any) -> ExperimentSpec:
    """resnet8 on 200 digits at 16 px: four epochs of six steps, each step told."""
    mapping = {
        "data": {"name": "digits", "per_class": 20},
        "student": "resnet8",
        "method": "none",
        "recipe": {"epochs": EPOCHS, "batch_size": 32, "ema": 0.9},
        "runtime": {"threads": 1, "device": "cpu", "log_every": 1},
    }
    return ExperimentSpec.from_mapping(mapping | changes)


class Undisturbed(NamedTuple):
    """Digests of the weights of a run that nobody disturbed, and the seconds before its first step."""

    digests: dict[str, str]
    startup_s: float


@dataclass(frozen=True)
class Victim:
    """A process that can be killed: how to find its identity while a run is under way, and how it comes to life."""

    identity: Callable[[str], dict[str, Any] | None]
    revive: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Moment:
    """When to kill: a share (0..1) of a run's life, and seconds to wait beyond it, so that no line of code is safe.

    The first fifth of the shares lies before the first step, spread over ``startup_s``; the rest over the steps, the
    last of them over validation, checkpoint and test.
    """

    share: float
    beyond_s: float

    @classmethod
    def draw(cls, generator: random.Random) -> Moment:
        return cls(round(generator.random(), 4), round(generator.uniform(0, 0.3), 4))

    def wait(self, world: World, run_id: str, victim: Victim) -> None:
        """Waits for it; returns at once when the run ends earlier."""
        ended = lambda: world.store.get(run_id).state.ended  # noqa: E731
        world.wait(lambda: victim.identity(run_id) or ended(), "the victim lives")
        if self.share < STARTING_SHARE:
            time.sleep(self.share / STARTING_SHARE * world.startup_s)
        else:
            step = 1 + int((self.share - STARTING_SHARE) / (1 - STARTING_SHARE) * STEPS)
            world.wait(lambda: world.last_step(run_id) >= step or ended(), f"step {step}")
        time.sleep(self.beyond_s)


@dataclass(frozen=True)
class Round:
    """What one kill did. ``killed`` is False when the victim had gone by itself a moment earlier."""

    victim: str
    share: float
    phase: str
    epoch: int
    step: int
    killed: bool
    resumes: int
    attempts: int
    state: str
    seconds: float
    last_sha256: str
    student_sha256: str


class World:
    """One workspace.

    Args:
        startup_s: what a trainer needs before its first step, to spread early moments over.
    """

    def __init__(self, workspace: Workspace, startup_s: float = 5.0) -> None:
        self.workspace = workspace
        self.store = JobStore(workspace)
        self.startup_s = startup_s
        self.dashboard = Dashboard(workspace)
        self.victims: dict[str, Victim] = {
            "trainer": Victim(self._trainer, lambda: None),
            "supervisor": Victim(lambda run_id: supervisor_identity(workspace), lambda: ensure_supervisor(workspace)),
            "page server": Victim(self._page_server, self.dashboard.start, self._open_dashboard),
        }

    # doing -----------------------------------------------------------------------------------------------------------

    def launch(self, run_id: str, spec: ExperimentSpec | None = None) -> list[Job]:
        """Queues a run and sees to it that a supervisor is at work."""
        jobs = launch(spec or tiny_spec(), self.workspace, run_id=run_id)
        ensure_supervisor(self.workspace)
        return jobs

    def kill(self, victim: str, run_id: str) -> bool:
        """kill -9 of exactly that process; False when it is not there (any more), or has done its work already.

        A trainer that has written its end stays for a moment, until MLflow is told.
        """
        identity = self.victims[victim].identity(run_id)
        if identity is None or not is_alive(identity):
            return False
        os.kill(identity["pid"], signal.SIGKILL)
        self.wait(lambda: not is_alive(identity), f"the {victim} is dead")
        return victim != "trainer" or self.workspace.run(run_id).state() is not State.FINISHED

    def finish(self, run_id: str) -> int:
        """Sees a run to its end, resuming it whenever it ended before; returns how often that was."""
        for resumes in range(MAX_RESUMES + 1):
            self.wait(lambda: self.store.get(run_id).state.ended, f"the end of {run_id}")
            if self.store.get(run_id).state is State.FINISHED:
                self.wait(lambda: not tracking.behind(self.workspace.run(run_id)), "MLflow is told")
                return resumes
            self.store.resume(run_id)
        raise AssertionError(f"{run_id} was resumed {MAX_RESUMES} times and did not finish: {self.story(run_id)}")

    def play(self, victim: str, run_id: str, moment: Moment) -> Round:
        """One round: launch, kill at the moment, revive, finish."""
        self.victims[victim].prepare()
        began = time.monotonic()
        self.launch(run_id)
        moment.wait(self, run_id, self.victims[victim])
        status = self.workspace.run(run_id).status()
        step = self.last_step(run_id)
        killed = self.kill(victim, run_id)
        self.victims[victim].revive()
        resumes = self.finish(run_id)
        job = self.store.get(run_id)
        return Round(
            victim=victim,
            share=moment.share,
            phase=status.get("phase") or str(status["state"]),
            epoch=min(EPOCHS, step // STEPS_PER_EPOCH + 1) if step else 0,
            step=step,
            killed=killed,
            resumes=resumes,
            attempts=job.attempt,
            state=str(job.state),
            seconds=round(time.monotonic() - began, 1),
            **self.digests(run_id),
        )

    def play_all(self, run_id: str, moments: dict[str, Moment]) -> tuple[dict[str, bool], int]:
        """Several kills in one run, each victim at its moment; which died by it, and how often the run was resumed."""
        for victim in moments:
            self.victims[victim].prepare()
        self.launch(run_id)
        killed, resumes = {}, 0
        for victim, moment in sorted(moments.items(), key=lambda pair: pair[1].share):
            moment.wait(self, run_id, self.victims[victim])
            killed[victim] = self.kill(victim, run_id)
            self.victims[victim].revive()
            if victim == "trainer" and killed[victim]:
                self.wait(lambda: self.store.get(run_id).state.ended, "its death is noticed")
                resumes += self.store.resume(run_id).state is State.QUEUED
        return killed, resumes + self.finish(run_id)

    def close(self) -> None:
        """Ends whatever is left of this world."""
        self.dashboard.leave()
        stop_supervisor(self.workspace)
        for job in self.store.jobs():
            if not job.state.ended and is_alive(job.identity):
                os.kill(job.identity["pid"], signal.SIGKILL)

    # looking ---------------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Waits until the condition holds; fails with the story of all jobs otherwise."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {PATIENCE_S:g} s in vain: {what}\n{self.story()}")
            time.sleep(LOOK_S)

    def story(self, run_id: str | None = None) -> str:
        """State and last lines of a run, or of all."""
        jobs = self.store.jobs() if run_id is None else [self.store.get(run_id)]
        lines = [f"{job.id}: {job.state}, {job.reason}, {job.message}" for job in jobs]
        return "\n".join([*lines, *(line for job in jobs for line in self.workspace.run(job.id).log_tail(15))])

    def last_step(self, run_id: str) -> int:
        """The highest step told so far, 0 before the first."""
        return max((event["step"] for event in self.workspace.run(run_id).events("step")), default=0)

    def digests(self, run_id: str) -> dict[str, str]:
        """SHA-256 of the two files of weights."""
        run = self.workspace.run(run_id)
        return {
            "last_sha256": files.digest(run.last_student_file),
            "student_sha256": files.digest(run.student_file),
        }

    def check_agreement(self, run_id: str) -> None:
        """The job table, status.json, the events and MLflow tell the same of a finished run, and each epoch once."""
        run, job = self.workspace.run(run_id), self.store.get(run_id)
        status, epochs = run.status(), run.latest("epoch", "epoch")
        assert (job.state, status["state"], job.exit_code, status["exit_code"]) == (State.FINISHED, "finished", 0, 0)
        assert status["progress"]["epoch"] == EPOCHS
        # The table counts starts; a trainer killed before its first word never told of its attempt.
        assert 1 <= status["attempt"] <= job.attempt, self.story(run_id)
        assert [event["step"] for event in run.latest("step", "step")] == list(range(1, STEPS + 1))
        assert [event["epoch"] for event in epochs] == list(range(1, EPOCHS + 1))
        twin, history = self._mlflow(run_id)
        assert twin.info.status == ELSEWHERE[job.state].mlflow
        assert twin.data.metrics["test.best.accuracy"] == status["test"]["best"]["accuracy"]
        told = [(event["epoch"], event["validation"]["accuracy"]) for event in epochs]
        assert sorted((metric.step, metric.value) for metric in history) == told

    def _mlflow(self, run_id: str) -> tuple[Any, list[Any]]:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=tracking.tracking_uri(self.workspace))
        twin = tracking.mlflow_run_id(self.workspace.run(run_id))
        assert twin is not None
        return client.get_run(twin), client.get_metric_history(twin, "validation.accuracy")

    def _open_dashboard(self) -> None:
        if self._page_server("") is None:
            self.dashboard.start()

    def _page_server(self, run_id: str) -> dict[str, Any] | None:
        process = self.dashboard.process
        return process_identity(process.pid) if process is not None and process.poll() is None else None

    def _trainer(self, run_id: str) -> dict[str, Any] | None:
        job = self.store.get(run_id)
        return job.identity if job.pid and not job.state.ended else None


def reading_processes(identity: dict[str, Any]) -> list[int]:
    """Ids of the processes that read images for a trainer."""
    try:
        return [child.pid for child in psutil.Process(identity["pid"]).children()] if is_alive(identity) else []
    except psutil.NoSuchProcess:
        return []


def as_rows(rounds: list[Round]) -> list[dict[str, Any]]:
    """Rounds as plain mappings, numbered from 1."""
    return [{"round": number} | asdict(one) for number, one in enumerate(rounds, start=1)]
