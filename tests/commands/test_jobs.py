"""``kd jobs``: what it shows is what the queue holds, and what it is asked to do happens."""

from __future__ import annotations

import json
import time

import pytest

from kdengine import ExperimentSpec
from kdengine.assembly.launch import launch
from kdengine.cli import main
from kdengine.commands.jobs import exit_code
from kdengine.jobs import JobStore, stop_supervisor, supervisor_alive
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.runner import create
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

TINY = {
    "data": {"name": "digits", "per_class": 10},
    "student": "resnet20",
    "method": "none",
    "recipe": {"epochs": 2, "batch_size": 32},
    "runtime": {"threads": 1, "device": "cpu"},
}


def spec(**changes: object) -> ExperimentSpec:
    return ExperimentSpec.from_mapping(TINY | changes)


@pytest.fixture
def queue(workspace: Workspace) -> JobStore:
    """Three queued jobs and no supervisor."""
    for name in ("first", "second", "third"):
        launch(spec(title=f"the {name}"), workspace, run_id=name)
    return JobStore(workspace)


def table(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    assert main(["jobs"]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_an_empty_workspace_says_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs"]) == 0
    assert "There are no jobs" in capsys.readouterr().out
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_table_shows_the_queue_in_its_order(queue: JobStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row[:5] for row in table(capsys)] == [
        ["queued", name, "the", name, "digits"] for name in ("first", "second", "third")
    ]
    assert main(["jobs", "up", "third"]) == 0 and main(["jobs", "down", "first"]) == 0
    assert [job.id for job in queue.jobs()] == ["third", "first", "second"]
    capsys.readouterr()
    assert [row[1] for row in table(capsys)] == ["third", "first", "second"]


def test_how_many_runs_share_a_gpu_is_set(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--jobs-per-gpu", "3"]) == 0 and jobs_per_gpu(workspace) == 3
    assert main(["jobs", "--jobs-per-gpu", "17"]) == 2 and "from 1 to 16" in capsys.readouterr().err
    assert main(["jobs"]) == 0 and jobs_per_gpu(workspace) == 3
    assert main(["jobs", "--jobs-per-gpu", "0"]) == 0 and jobs_per_gpu(workspace) is None


def test_nobody_at_work_is_said(queue: JobStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "list"]) == 0
    assert "No supervisor is at work" in capsys.readouterr().err


def test_json_holds_row_and_status_but_no_tokens(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    launch(spec(), workspace, run_id="secretive", token="form-token-1234")
    assert main(["jobs", "list", "--json"]) == 0
    out = capsys.readouterr().out
    (row,) = json.loads(out)
    assert (row["id"], row["state"], row["method"], row["student"]) == ("secretive", "queued", "none", "resnet20")
    assert row["status"]["state"] == "queued" and "form-token-1234" not in out


def test_cancel_stop_and_delete_before_a_start(queue: JobStore, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        assert main(["jobs", "cancel", name]) == 0
        assert queue.get(name).state is State.STOPPED
    capsys.readouterr()
    assert main(["jobs", "stop", "third", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": "third", "state": "stopped", "request": None}
    assert queue.get("third").state is State.STOPPED
    assert not supervisor_alive(queue.workspace), "nothing was left to do for one"
    assert main(["jobs", "delete", "first"]) == 0
    assert queue.find("first") is None and not queue.workspace.run("first").path.exists()
    assert main(["jobs", "wait", "second"]) == 143


def test_a_run_from_a_shell_is_in_the_table(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create(spec(), workspace, "from-a-shell")
    folder.update_status(state=State.FAILED, reason="nan_loss", message="it became NaN", exit_code=3, ended=time.time())
    rows = table(capsys)
    assert rows[0][:2] == ["failed", "from-a-shell"] and "nan_loss" in rows[0]
    assert main(["jobs", "show", "shell"]) == 0
    out = capsys.readouterr().out
    assert "it became NaN" in out and "kd train --dataset digits" in out
    assert main(["jobs", "wait", "from-a"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stop"], "which job?"),
        (["stop", "nobody"], "there is no run 'nobody'"),
        (["up", "done"], "only a queued job can be moved"),
        (["stop", "done"], "has ended already"),
        (["resume", "done"], "only a stopped, failed or lost job can be resumed"),
        (["delete", "first"], "stop it first"),
        (["list", "first"], "list takes no id"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_words(
    queue: JobStore, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(spec(), queue.workspace, run_id="done")
    queue.change("done", {State.QUEUED}, state=State.FINISHED, ended=time.time())
    assert main(["jobs", *words]) == 2
    assert message in capsys.readouterr().err


def test_exit_codes_by_outcome(queue: JobStore) -> None:
    def code(state: State, exit_code_: int | None) -> int:
        job = queue.change("first", set(State), state=state, exit_code=exit_code_)
        assert job is not None
        return exit_code(job)

    assert code(State.FINISHED, 0) == 0 and code(State.LOST, None) == 3
    assert code(State.STOPPED, 130) == 130 and code(State.STOPPED, -9) == 143
    assert code(State.FAILED, 2) == 2 and code(State.FAILED, -11) == 3


def test_a_resumed_job_is_trained_waited_for_logged_and_deleted(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(spec(), workspace, run_id="only")
    assert main(["jobs", "cancel", "only"]) == 0
    try:
        assert main(["jobs", "resume", "only"]) == 0
        assert supervisor_alive(workspace)
        assert main(["jobs", "wait", "only"]) == 0
    finally:
        stop_supervisor(workspace)
    capsys.readouterr()
    rows = table(capsys)
    best = workspace.run("only").status()["best"]["accuracy"]
    assert rows[0][:2] == ["finished", "only"] and f"{100 * best:.1f}" in rows[0] and "2/2" in rows[0]
    assert main(["jobs", "log", "only", "-f"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    assert main(["jobs", "delete", "only"]) == 0
    assert not workspace.run("only").path.exists()
