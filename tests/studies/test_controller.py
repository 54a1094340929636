"""The controller: budget, pruning, seeds, retries, stopping, crashes at any moment."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from typing import Any

import optuna
import pytest
from mill import Mill, small_plan

from kdengine.errors import BadInput, KdError
from kdengine.jobs import JobLabels
from kdengine.workspace.states import ELSEWHERE, State
from studies import actions as control
from studies import storage, words
from studies.controller import FAILURES_IN_A_ROW, MAX_RETRIES
from studies.plan import Budget, StudyPlan
from studies.trials import StudyView


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def check_agreement(mill: Mill, plan: StudyPlan) -> StudyView:
    """Optuna's trials, the job table and the run folders tell the same story."""
    now = control.view(plan.name, mill.workspace)
    jobs = {job.id: job for job in mill.runs()}
    assert sorted(jobs) == sorted(run for row in now.trials for run in row.runs if row.state != "waiting")
    for row in now.trials:
        states = [jobs[run].state for run in row.runs]
        assert {ELSEWHERE[state].optuna.lower() for state in states} >= {row.state}, (row, states)
        assert [mill.workspace.run(run).state() for run in row.runs] == states
    return now


def test_it_spends_its_budget_exactly_and_finds_better_values(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 15}))
    mill.work(plan)
    now = check_agreement(mill, plan)
    assert now.counted == 15 == len(now.trials) and now.count("pruned") > 0
    assert now.default is not None and now.best is not None
    assert now.best.values[0] > now.default.values[0] and now.trials[0].origin == "default"
    assert now.epochs_run == sum(row.epochs for row in now.trials) < now.epochs_planned == 15 * 6
    assert now.best.curve[6] == now.best.values[0]


def test_pruned_runs_are_worse_than_the_median(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 12}, sampler="random"))
    mill.work(plan)
    now = control.view(plan.name, mill.workspace)
    pruned = [row for row in now.trials if row.state == "pruned"]
    assert pruned and now.best is not None
    for row in pruned:
        last = max(row.curve)
        assert row.epochs < 6 and row.curve[last] < now.best.curve[last]


def test_without_a_pruner_every_epoch_is_trained(mill: Mill) -> None:
    plan = mill.begin(small_plan(pruner="none"))
    mill.work(plan)
    now = check_agreement(mill, plan)
    assert now.epochs_run == now.epochs_planned == 48 and now.count("complete") == 8


def test_several_seeds_are_runs_of_their_own_and_their_mean_counts(mill: Mill) -> None:
    plan = mill.begin(small_plan(seeds=[0, 10, 20], budget={"trials": 3}, pruner="none"))
    mill.work(plan)
    now = check_agreement(mill, plan)
    assert len(mill.runs()) == 9
    row = now.trials[0]
    accuracies = [mill.workspace.run(run).status()["best"]["accuracy"] for run in row.runs]
    assert row.values[0] == pytest.approx(sum(accuracies) / 3) and len(set(accuracies)) == 3


@pytest.mark.parametrize("reason", ["killed", "lost", "oom_host"])
def test_a_dead_run_is_taken_up_again_where_it_was(mill: Mill, reason: str) -> None:
    plan = mill.begin(small_plan(budget={"trials": 2}, pruner="none"))
    controller = mill.controller(plan)
    for _ in range(4):
        controller.turn()
        mill.play()
    dead = mill.runs()[0]
    reached = mill.workspace.run(dead.id).status()["progress"]["epoch"]
    assert reached > 0
    mill.end(dead, State.FAILED, reason, "signal 9")
    mill.work(plan)
    now = check_agreement(mill, plan)
    row = next(row for row in now.trials if dead.id in row.runs)
    assert (row.state, row.tries, row.epochs) == ("complete", 2, 6) and now.counted == 2
    study = storage.open_study(storage.connect(mill.workspace), plan.name)
    states = Counter(trial.state.name for trial in study.trials)
    assert states == {"COMPLETE": 2, "FAIL": 1}
    assert [trial.user_attrs["retry_of"] for trial in study.trials if "retry_of" in trial.user_attrs] == [row.number]


def test_what_dies_again_and_again_is_given_up(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 2}, pruner="none"))
    controller = mill.controller(plan)
    for _ in range(60):
        if controller.turn():
            break
        mill.play()
        job = mill.store.find("small-t0000")
        if job is not None and job.state is State.RUNNING:
            mill.end(job, State.FAILED, "killed")
    now = control.view(plan.name, mill.workspace)
    assert (now.trials[0].state, now.trials[0].tries) == ("fail", 1 + MAX_RETRIES)
    assert now.counted == 2, "the budget goes to others"


def test_a_run_that_a_person_stopped_is_not_taken_up_again(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 1}, pruner="none"))
    controller = mill.controller(plan)
    controller.turn()
    mill.play()
    mill.end(mill.runs()[0], State.STOPPED, "stopped", "stopped on request")
    mill.work(plan)
    now = control.view(plan.name, mill.workspace)
    assert [row.state for row in now.trials] == ["fail", "complete"] and now.trials[0].tries == 1


def test_values_that_fail_in_a_row_end_the_study_in_words(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 20}))
    controller = mill.controller(plan)
    with pytest.raises(KdError, match=f"last {FAILURES_IN_A_ROW} trials failed.*the loss became NaN"):
        for _ in range(100):
            controller.turn()
            for job in mill.runs():
                if not job.state.ended:
                    mill.end(job, State.FAILED, "nan_loss", "the loss became NaN")


def test_stopping_keeps_what_was_trained_and_resuming_goes_on(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = mill.begin(small_plan(pruner="none"))
    controller = mill.controller(plan)
    for _ in range(4):
        controller.turn()
        mill.play()
    monkeypatch.setattr("studies.controller.time.sleep", lambda seconds: mill.play())
    controller.stop()
    monkeypatch.undo()
    before = {run.id: run.status().get("progress", {}).get("epoch") for run in map(_run(mill), mill.runs())}
    now = control.view(plan.name, mill.workspace)
    assert now.count("running") == 0 and now.count("waiting") >= 2
    assert {job.state for job in mill.runs()} == {State.STOPPED}
    mill.work(plan)
    now = check_agreement(mill, plan)
    assert now.counted == 8 and len(mill.runs()) == 8
    for run_id, epoch in before.items():
        told = [event["epoch"] for event in mill.workspace.run(run_id).events("epoch")]
        assert told == [1, 2, 3, 4, 5, 6] and epoch < 6, "no epoch was trained twice"


def _run(mill: Mill) -> Any:
    return lambda job: mill.workspace.run(job.id)


def test_after_the_current_ones_nothing_begins(mill: Mill) -> None:
    plan = mill.begin(small_plan())
    controller = mill.controller(plan)
    controller.turn()
    mill.play()
    control.stop_after_current(plan.name, mill.workspace)
    mill.work(plan)
    now = check_agreement(mill, plan)
    assert now.ending and now.counted == 2


def test_a_budget_is_extended(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 3}))
    mill.work(plan)
    mill.store.change(plan.job_id, set(State), state=State.FINISHED)
    with pytest.raises(BadInput, match=r"all 3 trials are done; extend it: kd study resume small --trials 13"):
        control.resume(plan.name, mill.workspace)
    with pytest.raises(BadInput, match="3 trials are done already"):
        control.resume(plan.name, mill.workspace, Budget(trials=2))
    assert control.resume(plan.name, mill.workspace, Budget(trials=5)).state is State.QUEUED
    mill.work(plan)
    assert control.view(plan.name, mill.workspace).counted == 5


def test_a_trial_by_hand_comes_next(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 4}))
    control.enqueue(plan.name, {"method.temperature": 2.5}, mill.workspace)
    mill.work(plan)
    now = check_agreement(mill, plan)
    by_hand = next(row for row in now.trials if row.origin == "by hand")
    assert by_hand.number == 1 and by_hand.params["method.temperature"] == 2.5
    assert by_hand.params.keys() == {"method.temperature", "method.alpha"}
    with pytest.raises(BadInput) as refused:
        control.enqueue(plan.name, {"method.temperature": 50, "method.beta": 1}, mill.workspace)
    assert {problem.field for problem in refused.value.problems} == {"method.temperature", "method.beta"}


def test_hours_end_a_study(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = mill.begin(small_plan(budget={"trials": None, "hours": 1.0}))
    controller = mill.controller(plan)
    controller.turn()
    mill.play()
    mill.workspace.run(plan.job_id).update_status(active_s=3601.0)
    mill.work(plan)
    assert control.view(plan.name, mill.workspace).counted == 2, "what was under way is finished"


def test_the_best_of_an_earlier_study_on_the_pair_is_a_starting_point(mill: Mill) -> None:
    mill.work(mill.begin(small_plan("first", budget={"trials": 15})))
    best = control.view("first", mill.workspace).best
    second = mill.begin(small_plan("second", budget={"trials": 2}))
    other = dict(second.experiment) | {"student": {"name": "resnet56"}}
    mill.begin(small_plan("third", experiment=other, budget={"trials": 2}))
    mill.work(second)
    rows = control.view("second", mill.workspace).trials
    assert best is not None
    assert [row.origin for row in rows] == ["default", "earlier study"] and rows[1].params == best.params
    assert [row.origin for row in control.view("third", mill.workspace).trials] == ["default"]


def test_a_student_beyond_the_limit_is_not_trained(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"resnet20": 270_000.0, "resnet56": 850_000.0}
    monkeypatch.setattr(
        "studies.controller.cost_of",
        lambda spec, workspace, folder: {"parameters": sizes[spec.student.name], "macs": 1.0, "latency_ms": 1.0},
    )
    space = {"student.name": "resnet20, resnet56", "method.alpha": ""}
    plan = mill.begin(small_plan(space=space, limits={"parameters": 300_000}, sampler="random"))
    mill.work(plan)
    now = control.view(plan.name, mill.workspace)
    beyond = [row for row in now.trials if row.params["student.name"] == "resnet56"]
    assert beyond and all(row.epochs == 0 and "is above 300000" in row.why for row in beyond)
    assert now.counted == 8 and len(mill.runs()) == 8 - len(beyond)


def test_several_goals_have_a_front(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"resnet20": 1.0, "resnet56": 3.0}
    monkeypatch.setattr(
        "studies.controller.cost_of",
        lambda spec, workspace, folder: {"parameters": 1.0, "macs": 1.0, "latency_ms": sizes[spec.student.name]},
    )
    space = {"student.name": "resnet20, resnet56", "method.alpha": ""}
    plan = mill.begin(small_plan(space=space, metrics=["accuracy", "latency_ms"], pruner="none"))
    mill.work(plan)
    now = check_agreement(mill, plan)
    assert all(len(row.values) == 2 for row in now.trials)
    fast = [row for row in now.trials if row.values[1] == 1.0]
    assert max(fast, key=lambda row: row.values[0]).number in now.front
    assert len(now.front) < len(now.trials)
    told = {row.number for row in now.trials if "on the Pareto front" in words.remark(row, now)}
    assert told == now.front


def test_a_grid_ends_when_every_point_is_tried(mill: Mill) -> None:
    plan = mill.begin(small_plan(sampler="grid", grid_points=3, budget={"trials": 50}, pruner="none"))
    mill.work(plan)
    now = check_agreement(mill, plan)
    points = [tuple(row.params.values()) for row in now.trials]
    assert now.exhausted and now.trials[0].origin == "default" and len(points) == 16
    assert set(points) == {(t, a) for t in (1.0, 2.828, 3.0, 8.0) for a in (0.05, 0.3, 0.475, 0.9)}
    with pytest.raises(BadInput, match=r"found 5, expected a point of the grid: 1.0, 2.828"):
        control.enqueue(plan.name, {"method.temperature": 5}, mill.workspace)


def doors(mill: Mill, monkeypatch: pytest.MonkeyPatch, crash: Any) -> None:
    """Lets ``crash`` decide before and after each step that is seen outside."""

    def around(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def stepped(*arguments: Any, **more: Any) -> Any:
            crash()
            answer = real(*arguments, **more)
            crash()
            return answer

        monkeypatch.setattr(owner, name, stepped)

    for name in ("ask", "tell", "enqueue_trial"):
        around(optuna.study.Study, name)
    for name in ("set_user_attr", "report", "suggest_float"):
        around(optuna.trial.Trial, name)
    for name in ("submit", "resume", "request_prune"):
        around(type(mill.store), name)


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_at_any_step_loses_and_doubles_nothing(mill: Mill, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The controller dies at one in thirty of its steps, and runs die too, until the study is done all the same."""
    generator = random.Random(seed)
    plan = mill.begin(small_plan(budget={"trials": 10}))
    armed, deaths = False, 0

    def crash() -> None:
        if armed and generator.random() < 1 / 30:
            raise Killed

    doors(mill, monkeypatch, crash)
    done = False
    for _ in range(600):
        try:
            armed = True
            done = mill.controller(plan).turn()
        except Killed:
            deaths += 1
        finally:
            armed = False
        if done:
            break
        mill.play()
        if generator.random() < 0.05:
            running = [job for job in mill.runs() if job.state is State.RUNNING]
            if running:
                mill.end(generator.choice(running), State.FAILED, "killed")
    assert done and deaths >= 3
    now = check_agreement(mill, plan)
    assert now.counted == 10 and now.count("running", "waiting") == 0
    assert all(job.state.ended for job in mill.runs())
    for row in now.trials:
        for run in row.runs:
            epochs = [event["epoch"] for event in mill.workspace.run(run).events("epoch")]
            assert epochs == list(range(1, len(epochs) + 1)), "an epoch trained twice"
    # Nothing that the search knows stands for two trials.
    finished = [tuple(row.params.items()) for row in now.trials if row.state in ("complete", "pruned")]
    assert len(set(finished)) == len(finished) == 10


def test_deleting_takes_the_runs_along(mill: Mill) -> None:
    plan = mill.begin(small_plan(budget={"trials": 2}))
    with pytest.raises(BadInput, match="is running; stop it first"):
        control.delete(plan.name, mill.workspace)
    mill.work(plan)
    mill.store.change(plan.job_id, set(State), state=State.FINISHED)
    mill.workspace.run(plan.job_id).update_status(state=State.FINISHED)
    control.delete(plan.name, mill.workspace)
    assert mill.store.jobs() == [] and mill.workspace.list_runs() == [] and control.views(mill.workspace) == []


def test_a_study_whose_teacher_was_stopped_waits_and_one_whose_teacher_failed_ends_in_words(mill: Mill) -> None:
    plan = mill.begin(small_plan(parallel=2))
    mill.store.submit("{}", run_id="teacher", command="", labels=JobLabels("teacher"))
    mill.store.cancel("teacher")
    controller = mill.controller(plan)
    controller.turn()
    with sqlite3.connect(mill.workspace.jobs_db) as db:
        db.execute("UPDATE jobs SET after = 'teacher' WHERE kind = 'train' AND id != 'teacher'")
    db.close()
    assert not controller.turn()
    assert "waits for teacher, which was stopped" in mill.workspace.run(plan.job_id).status()["phase"]
    mill.store.change("teacher", set(State), state=State.FAILED, message="loss became nan")
    with pytest.raises(KdError, match=r"teacher, which is failed: loss became nan.*then resume the study"):
        controller.turn()
    assert mill.store.get("teacher").state is State.FAILED and len(mill.store.jobs({State.QUEUED})) == 3
    mill.store.change("teacher", set(State), state=State.FINISHED)
    mill.work(plan)
    assert control.view(plan.name, mill.workspace).counted == 8, "the trials that waited were not lost"


def test_a_turn_without_news_reads_the_trials_once(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = mill.begin(small_plan())
    controller = mill.controller(plan)
    controller.turn()
    read = optuna.Study.get_trials
    reads = []
    monkeypatch.setattr(optuna.Study, "get_trials", lambda *args, **more: reads.append(1) or read(*args, **more))
    controller.turn()
    assert len(reads) == 1, "two trials under way, and nothing has happened"
    mill.play()
    mill.play()
    controller.turn()
    assert controller.study.trials[0].intermediate_values, "what was read before the change does not stand after it"
