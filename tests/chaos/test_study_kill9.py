"""kill -9 of all there is, at random moments of a study: nothing is lost, doubled or stuck."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from hunting import VICTIMS, hunt
from world import World

from kdengine import tracking
from kdengine.tracking import mirroring
from kdengine.workspace.states import ELSEWHERE, State
from studies import actions as control
from studies.controller import MAX_RETRIES
from studies.plan import StudyPlan, read
from studies.trials import StudyView

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
COMMAND = "python -m pytest -m long tests/chaos/test_study_kill9.py"
LONG_KILLS, LONG_TRIALS = 50, 24


def small_study(trials: int) -> StudyPlan:
    """The learning rate of resnet8 on 200 digits: four epochs of six steps."""
    experiment = {
        "data": {"name": "digits", "per_class": 20},
        "student": "resnet8",
        "method": "none",
        "recipe": {"epochs": 4, "batch_size": 32},
        "runtime": {"threads": 1, "device": "cpu", "workers": 1},
    }
    mapping = {"name": "hunted", "experiment": experiment, "space": {"recipe.lr": "0.01..0.1, log"}}
    return read(mapping | {"budget": {"trials": trials}, "startup": 2, "sampler": "random"})


def hunted(world: World, plan: StudyPlan, kills: int, seed: str, longest_s: float) -> list[dict[str, Any]]:
    """Runs the study and kills until it is done; what was killed and when."""
    return hunt(
        world, lambda: control.begin(plan, world.workspace), lambda: world.store.get(plan.job_id).state.ended, kills,
        seed, longest_s,
    )  # fmt: skip


def check_agreement(world: World, plan: StudyPlan) -> StudyView:
    """Optuna, the job table, the run folders and MLflow tell the same story, and the budget is spent exactly."""
    from mlflow import MlflowClient

    world.wait(lambda: not mirroring.owed(world.workspace), "MLflow is told")
    assert world.store.get(plan.job_id).state is State.FINISHED, world.story()
    client = MlflowClient(tracking_uri=tracking.tracking_uri(world.workspace))
    study_twin = tracking.mlflow_run_id(world.workspace.run(plan.job_id))
    assert study_twin is not None and client.get_run(study_twin).info.status == "FINISHED"
    now = control.view(plan.name, world.workspace)
    jobs = {job.id: job for job in world.store.jobs() if not job.is_controller}
    assert now.counted == plan.budget.trials and now.count("running", "waiting") == 0
    lost = [row.number for row in now.trials if row.state == "fail" and row.tries <= MAX_RETRIES]
    why = [(row.number, row.tries, row.why) for row in now.trials if row.number in lost]
    assert not lost, f"given up though they were not killed {MAX_RETRIES + 1} times: {why}"
    assert sorted(jobs) == sorted(run for row in now.trials for run in row.runs), "one run for each trial"
    for row in now.trials:
        job, run = jobs[row.runs[0]], world.workspace.run(row.runs[0])
        names = ELSEWHERE[job.state]
        twin = client.get_run(str(tracking.mlflow_run_id(run)))
        assert (row.state.upper(), run.state(), twin.info.status) == (names.optuna, job.state, names.mlflow)
        assert twin.data.tags["mlflow.parentRunId"] == study_twin
        told = [event["epoch"] for event in run.latest("epoch", "epoch")]
        # Killed between telling an epoch and its checkpoint, and ended before that was trained anew: one more is told.
        untrained = len(told) - row.epochs
        assert untrained == 0 or (untrained == 1 and row.tries > 1 and row.state != "complete"), world.story(job.id)
        assert told == list(range(1, len(told) + 1)) and set(row.curve) <= set(told)
    return now


@pytest.fixture(autouse=True)
def images_stay_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that processes read them for the training, as they do for data too large to stay on the device."""
    monkeypatch.setenv("KD_RESIDENT_MB", "0")


def test_a_study_survives_kills(world: World) -> None:
    plan = small_study(2)
    killed = hunted(world, plan, 5, "in CI", longest_s=3.0)
    assert len(killed) >= 2
    check_agreement(world, plan)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_fifty_kills_in_one_study(world: World) -> None:
    plan = small_study(LONG_TRIALS)
    killed = hunted(world, plan, LONG_KILLS, "fifty", longest_s=6.0)
    now = check_agreement(world, plan)
    tries = [{"trial": row.number, "state": row.state, "tries": row.tries, "epochs": row.epochs} for row in now.trials]
    head = {"command": COMMAND, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "kills": killed}
    (RESULTS / "study_kill9.json").write_text(json.dumps(head | {"trials": tries}, indent=2) + "\n")
    counts = ", ".join(f"{victim} {sum(one['victim'] == victim for one in killed)}" for victim in VICTIMS)
    lines = [
        "# kill -9 in a study",
        "",
        f"`{COMMAND}` on {head['machine']}: {len(killed)} kills ({counts}) in one study of {LONG_TRIALS} trials.",
        "Nothing was started again but the page server. No trial was lost, none doubled, none stuck, the budget is",
        "exact; Optuna, MLflow, the job table and the run folders agree.",
        "",
        "| trial | state | tries | epochs |",
        "| ---: | --- | ---: | ---: |",
        *(f"| {one['trial']} | {one['state']} | {one['tries']} | {one['epochs']} |" for one in tries),
    ]
    (RESULTS / "study_kill9.md").write_text("\n".join(lines) + "\n")
    assert len(killed) == LONG_KILLS
