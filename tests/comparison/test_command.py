"""`kd compare` at the shell: lists, shows, writes files, refuses in words with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_comparison import finish

from kdengine import cli
from kdengine.comparison import queueing as control
from kdengine.comparison.measure import measure
from kdengine.comparison.plan import Plan
from kdengine.comparison.progress import progress
from kdengine.comparison.stored_plans import list_plans, save_plan
from kdengine.jobs import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import compare_shell as compare

MEASURED = {"parameters": 10, "macs": 20, "bytes": 40, "milliseconds": 1.0, "teacher": None}


@pytest.fixture
def home(finished: Workspace, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a finished comparison, measured already, that `kd` works on."""
    save_plan(plan, finished)
    for run in finished.list_runs():
        (run.path / "measured.json").write_text(json.dumps(MEASURED))
    monkeypatch.setenv("KD_HOME", str(finished.root))
    monkeypatch.setattr("kdengine.tracking.available", lambda: False)
    return finished


def test_without_a_name_it_lists(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare"]) == 0
    said = capsys.readouterr().out
    assert "trial" in said and "12 of 12" in said and "none, none, cutmix, kd, byot" in said


def test_a_name_shows_the_table(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "trial"]) == 0
    said = capsys.readouterr().out
    assert "93.33 ± 1.53" in said and "helps" in said and "about 6 seeds would" in said


def test_json_and_files(home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "trial", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["finished"] == 12 and found["plan"]["seeds"] == [0, 1, 2]
    for kind, name in (("latex", "table.tex"), ("csv", "table.csv"), ("text", "table.md")):
        assert cli.main(["compare", "trial", "--format", kind, "--out", str(tmp_path / name)]) == 0
        assert "byot" in (tmp_path / name).read_text()


def test_a_failed_run_is_told_by_the_exit_code(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    home.run("run-03").update_status(state="failed", message="out of memory")
    assert cli.main(["compare", "trial"]) == 3
    assert "11 of 12 runs finished, 1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "there is no comparison 'nowhere'; there are: trial"),
        (["--methods", "kd"], "give it a name"),
        (["new", "--methods", "kd"], "arm 'kd', teacher: the method kd needs a teacher"),
        (["new", "--methods", "byot", "--seeds", "0"], "--seeds: found 0, expected 1 or more"),
        (["new", "--methods", "byot", "--student", "resnet21"], "there is no model 'resnet21'"),
        (["trial", "--methods", "byot", "--student", "resnet8x4"], "there is a comparison 'trial' already, of another"),
        (
            ["new", "--methods", "byot", "--set", "recipe.batch_size=4000"],
            "recipe.batch_size: .*larger than",
        ),
    ],
)
def test_bad_input_is_two_and_leaves_nothing(
    words: list[str], says: str, home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [run.id for run in home.list_runs()]
    assert cli.main(["compare", *words]) == 2
    import re

    assert re.search(says, capsys.readouterr().err)
    assert list_plans(home) == ["trial"] and [run.id for run in home.list_runs()] == before
    assert JobStore(home).jobs() == []


def test_queueing_again_what_was_lost_returns_at_once(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the whole command again, and without measuring what is there."""
    (home.run("run-04").path / "measured.json").unlink()
    monkeypatch.setattr("kdengine.jobs.ensure_supervisor", lambda workspace: None)
    nets = ["--student", "resnet20", "--teacher", "resnet8x4", "--set", "data.per_class=10"]
    whole = ["--methods", "kd,byot", *nets]
    for words in ([], whole):
        home.run("run-03").update_status(state="lost")
        for job in JobStore(home).jobs():
            JobStore(home).change(job.id, set(State), state=State.LOST)
        assert cli.main(["compare", "trial", *words, "--resume", "--queue"]) == 0
        assert [job.state for job in JobStore(home).jobs()] == [State.QUEUED]
    assert not (home.run("run-04").path / "measured.json").exists()


def test_all_means_every_method_that_the_teacher_allows(
    home: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[Plan] = []
    monkeypatch.setattr(control, "begin", lambda plan, workspace: begun.append(plan) or 0)
    cli.main(["compare", "alone", "--methods", "all", "--queue", "--student", "resnet20"])
    cli.main(["compare", "taught", "--methods", "all", "--queue", "--student", "resnet20", "--teacher", "resnet20"])
    alone, taught = ({arm.name for arm in plan.arms} for plan in begun)
    assert "kd" in taught - alone and "byot" in alone and alone < taught


def test_more_seeds_extend_a_comparison(home: Workspace, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    wider = Plan.model_validate(plan.model_dump() | {"seeds": (0, 1, 2, 3)})
    for number, cell in enumerate(cell for cell in wider.cells if cell.seed == 3):
        more = finish(home, cell.spec, 90.0, f"more-{number}")
        (more.path / "measured.json").write_text(json.dumps(MEASURED))
    nets = ["--student", "resnet20", "--teacher", "resnet8x4", "--set", "data.per_class=10"]
    options = ["--methods", "kd,byot", "--seeds", "4", "--queue", *nets]
    assert cli.main(["compare", "trial", *options]) == 0
    assert JobStore(home).jobs() == [], "all of it was there"


def test_runs_that_wait_for_a_stopped_teacher_end_the_wait_in_words(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, store = Workspace(tmp_path), JobStore(Workspace(tmp_path))
    monkeypatch.setenv("KD_HOME", str(tmp_path))
    monkeypatch.setattr("kdengine.jobs.ensure_supervisor", lambda *_: pytest.fail("nothing is there to be done"))
    save_plan(plan, workspace)
    control.queue_missing(plan, workspace, again=False)
    (teacher,) = (job for job in store.jobs() if job.id.split("-")[2] == "teacher")
    for job in store.jobs():
        if job.after is None:
            store.cancel(job.id)
    now = progress(plan, workspace)
    assert len(now.blocked) == 3 and not now.under_way
    compare._wait(plan.name, workspace)  # comes back
    assert cli.main(["compare", "trial"]) == 3
    said = capsys.readouterr().err
    assert f"3 runs: waits for {teacher.id}, which was stopped" in said and "kd compare trial --resume" in said
    control.queue_missing(plan, workspace)
    assert store.get(teacher.id).state is State.QUEUED and not progress(plan, workspace).blocked


def test_fidelity_outlives_the_teacher_it_was_measured_with(home: Workspace) -> None:
    run = home.run("run-06")
    run.update_status(teacher_run="run-00")
    known = MEASURED | {"teacher": "run-00", "agreement": 0.9, "kl": 0.1}
    (run.path / "measured.json").write_text(json.dumps(known))
    JobStore(home).adopt(home.run("run-00"))
    JobStore(home).delete("run-00")
    assert measure(run, None, home) == known
