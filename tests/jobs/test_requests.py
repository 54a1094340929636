"""Asking something of jobs while nobody is at work: a supervisor is started, and what is true is said."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from app.board import Board
from kdengine.cli import main
from kdengine.errors import BadInput
from kdengine.jobs import JobLabels, request, stop_supervisor, supervisor_alive
from kdengine.jobs.supervision import REQUESTS
from kdengine.workspace.states import State

SUPERVISOR = [sys.executable, str(Path(__file__).with_name("fake_supervisor.py"))]


def left_alone(house: Any, **fake: Any) -> None:
    """A run whose supervisor and trainer were both killed, so that its row still says that it is running."""
    house.submit("a", **fake)
    supervisor = house.start_supervisor()
    house.wait_state("a", State.RUNNING)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    for process in house.members():
        process.kill()
    house.wait(lambda: not house.members())
    assert house.state("a") is State.RUNNING and not supervisor_alive(house.workspace)


def test_a_run_that_died_unwatched_is_not_called_running(
    house: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left_alone(house, steps=1000, step_s=0.05)
    board = Board(house.workspace)
    (row,), detail = board.rows(), board.detail("a")
    assert row.state is State.LOST and detail is not None
    assert detail.job.state is State.LOST and "no supervisor" in (detail.job.message or "")
    monkeypatch.setenv("KD_HOME", str(house.workspace.root))
    assert main(["jobs", "--json"]) == 0
    assert [job["state"] for job in json.loads(capsys.readouterr().out)] == ["lost"]
    house.workspace.run("a").update_status(state=State.FINISHED, message="all done")
    assert board.rows()[0].state is State.FINISHED, "its own last word counts"


def test_a_request_starts_a_supervisor_and_is_answered_by_what_is_true(house: Any) -> None:
    left_alone(house, steps=40, step_s=0.02)
    try:
        with pytest.raises(BadInput, match="has ended already"):
            request(house.workspace, "a", "stop", SUPERVISOR)
        assert supervisor_alive(house.workspace)
        stop_supervisor(house.workspace)
        assert request(house.workspace, "a", "resume", SUPERVISOR).state is not State.LOST
        house.wait_state("a", State.FINISHED)
    finally:
        stop_supervisor(house.workspace)


@pytest.mark.parametrize("what", [*REQUESTS, "sideways"])
@pytest.mark.parametrize("state", [None, State.FINISHED])
def test_a_request_that_comes_too_late_is_refused_in_words(house: Any, what: str, state: State | None) -> None:
    """The job has ended, or was deleted, since the page was drawn."""
    house.submit("a")
    if state is None:
        house.store.cancel("a")
        house.store.delete("a")
    else:
        house.store.change("a", {State.QUEUED}, state=state)
    with pytest.raises(BadInput, match=r"'a'|a did not|sideways"):
        request(house.workspace, "a", what)
    assert not supervisor_alive(house.workspace)


def test_moving_or_cancelling_a_started_job_is_refused_in_words(house: Any) -> None:
    house.submit("a")
    house.store.change("a", {State.QUEUED}, state=State.RUNNING)
    for what in ("up", "down", "top", "bottom", "cancel"):
        with pytest.raises(BadInput, match="only a queued job"):
            REQUESTS[what](house.store, "a")


def test_curves_of_a_deleted_run_do_not_come_back_under_its_id(house: Any) -> None:
    board = Board(house.workspace)
    for losses in ([3.0, 2.0, 1.0], [9.0]):
        house.submit("a")
        run = house.workspace.run("a")
        run.update_status(best={"accuracy": losses[0] / 10, "epoch": 1})
        for step, loss in enumerate(losses, 1):
            run.append_event({"kind": "step", "step": step, "loss": loss})
        assert [event["loss"] for event in board.record("a").steps] == losses
        assert board.rows()[0].best == losses[0] / 10
        house.store.cancel("a")
        house.store.delete("a")


def test_students_keep_what_was_known_of_a_deleted_teacher(
    house: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = JobLabels("the big one", student="resnet56", method="none")
    house.store.submit("{}", run_id="teacher", command="kd train", labels=labels)
    for name, state in (("student", State.FINISHED), ("second", State.STOPPED)):
        house.submit(name, after="teacher")
        house.workspace.run(name).update_status(teacher_run="teacher", state=state, best={"accuracy": 0.7, "epoch": 1})
        house.store.change(name, {State.QUEUED}, state=state)
    house.submit("stranger")
    teacher = house.workspace.run("teacher")
    numbers = {"best": {"accuracy": 0.9, "epoch": 3}, "test": {"best": {"accuracy": 0.8}}}
    teacher.update_status(state=State.FINISHED, **numbers)
    house.store.change("teacher", {State.QUEUED}, state=State.FINISHED)
    assert house.store.dependents("teacher") == ["second", "student"] and house.store.dependents("stranger") == []
    with pytest.raises(BadInput, match="second can be resumed"):
        house.store.delete("teacher")
    assert "teacher_deleted" not in house.workspace.run("student").status(), "nothing is said before it is so"
    house.store.delete("second")
    monkeypatch.setenv("KD_HOME", str(house.workspace.root))
    assert main(["jobs", "delete", "teacher"]) == 0
    assert "student learnt from it" in capsys.readouterr().err
    known = house.workspace.run("student").status()["teacher_deleted"]
    assert known | {"at": 0} == {
        **{"run": "teacher", "name": "the big one", "student": "resnet56", "method": "none", "at": 0},
        **{"validation": 0.9, "test": 0.8},
    }
    detail = Board(house.workspace).detail("student")
    assert detail is not None and (detail.teacher_validation, detail.teacher_test) == (0.9, 0.8)
