"""`kd study` at the shell: lists, begins, shows, refuses in words with exit code 2, loses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from mill import EXPERIMENT, Mill, isolate, small_plan

from kdengine import cli
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import actions as control
from studies import ready_made
from studies.confirm import DEFAULTS, plan_for
from studies.confirm import read as read_confirmation

TINY = ["--student", "resnet20", "--method", "byot", "--epochs", "6"]


@pytest.fixture
def home(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> Mill:
    """Nobody works: the test plays the queue."""
    monkeypatch.setattr("kdengine.jobs.ensure_supervisor", lambda workspace: None)
    return mill


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a study that has ended, made once."""
    root = tmp_path_factory.mktemp("ended") / "home"
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, root)
        mill = Mill(Workspace(root))
        plan = mill.begin(small_plan("done", budget={"trials": 15}))
        mill.work(plan)
        mill.store.change(plan.job_id, set(State), state=State.FINISHED)
    return root


@pytest.fixture
def done(home: Mill, ended: Path) -> Mill:
    """A copy of it."""
    shutil.copytree(ended, home.workspace.root)
    return home


def test_the_way_of_a_study(home: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study"]) == 0
    assert "kd study new first --ready dcad" in capsys.readouterr().out
    assert cli.main(["study", "new", "mine", *TINY, "--tune", "method.alpha", "--trials", "3", "--queue"]) == 0
    plan = control.view("mine", home.workspace).plan
    assert [each.field for each in plan.searched] == ["method.alpha"] and plan.budget.trials == 3
    assert cli.main(["study", "try", "mine", "method.alpha=0.5"]) == 0
    home.work(plan)
    home.store.change(plan.job_id, set(State), state=State.FINISHED)
    capsys.readouterr()
    assert cli.main(["study", "show", "mine"]) == 0
    said = capsys.readouterr().out
    assert "best, by hand" in said and "finished, 3 of 3 trials" in said and "kd study confirm mine" in said
    assert cli.main(["study", "resume", "mine"]) == 2
    assert "extend it: kd study resume mine --trials 13" in capsys.readouterr().err
    assert cli.main(["study", "resume", "mine", "--trials", "4", "--queue"]) == 0
    home.work(plan)
    assert control.view("mine", home.workspace).counted == 4
    assert cli.main(["study"]) == 0
    assert "4 of 4" in capsys.readouterr().out


def test_a_sub_command_without_an_answer_deletes_nothing(done: Mill) -> None:
    from argparse import Namespace

    from studies import shell

    with pytest.raises(AssertionError, match="rename"):
        shell.main(Namespace(what="rename", name="done"))
    assert control.view("done", done.workspace).counted == 15


def test_json_tells_all(done: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "show", "done", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    now = control.view("done", done.workspace)
    assert now.best is not None
    assert found["state"] == "finished" and found["best"] == now.best.number and len(found["trials"]) == 15
    assert found["epochs_run"] < found["epochs_planned"] == 90


def test_a_note_on_a_trial_is_shown_changed_and_taken_away(done: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    for note in ("too  hot", "kept"):
        assert cli.main(["study", "note", "done", "3", note]) == 0
    assert cli.main(["study", "note", "done", "2", "other"]) == 0
    capsys.readouterr()
    cli.main(["study", "show", "done"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["3"])
    assert line.endswith("kept") and "too hot" not in line
    assert cli.main(["study", "note", "done", "3"]) == 0
    noted = {row.number: row.note for row in control.view("done", done.workspace).trials if row.note}
    assert noted == {2: "other"}
    assert cli.main(["study", "note", "done", "99", "x" * 400]) == 2
    said = capsys.readouterr().err
    assert "there is no trial 99" in said and "found 400 characters" in said
    assert {row.number for row in control.view("done", done.workspace).trials if row.note} == {2}


def test_promoted_values_are_an_experiment(done: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "promote", "done"]) == 0
    spec = ExperimentSpec.from_yaml(capsys.readouterr().out)
    best = control.view("done", done.workspace).best
    assert best is not None and spec.flat()["method.alpha"] == best.params["method.alpha"]
    assert cli.main(["study", "promote", "done", "--trial", "77"]) == 2
    assert "there is no trial 77" in capsys.readouterr().err


def test_confirming_runs_defaults_and_best_with_fresh_seeds(done: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "confirm", "done", "--seeds", "3", "--queue"]) == 0
    queued = [job for job in done.runs() if job.state is State.QUEUED]
    specs = [yaml.safe_load(done.workspace.run(job.id).spec_file.read_text()) for job in queued]
    assert sorted(spec["seed"] for spec in specs) == [1000, 1000, 1001, 1001, 1002, 1002]
    now = control.view("done", done.workspace)
    assert now.best is not None
    tuned = {spec["method"]["alpha"] for spec in specs}
    assert tuned == {0.3, now.best.params["method.alpha"]}
    for job in queued:
        spec = yaml.safe_load(done.workspace.run(job.id).spec_file.read_text())
        good = 0.8 + 0.001 * (spec["seed"] - 1000) + (0.05 if spec["method"]["alpha"] != 0.3 else 0)
        numbers = {"best": {"accuracy": good + 0.01, "epoch": 6}, "test": {"best": {"accuracy": good}}}
        done.workspace.run(job.id).update_status(**numbers)
        done.end(job, State.FINISHED, None)
    capsys.readouterr()
    assert cli.main(["study", "confirm", "done", "--seeds", "3"]) == 0
    said = capsys.readouterr().out
    assert "tuning helps: +5.0 points" in said and "80.1 ± 0.1 %" in said and "85.1 ± 0.1 %" in said
    found = read_confirmation(now, plan_for(now, 3), done.workspace)
    assert found.promised == now.best.values[0] and found.finished == found.total == 6
    assert found.test[DEFAULTS].mean == pytest.approx(0.801)


def test_defaults_are_not_confirmed_by_themselves(home: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    plan = home.begin(small_plan("short", budget={"trials": 1}))
    home.work(plan)
    assert cli.main(["study", "confirm", "short"]) == 2
    assert "the defaults are the best that was found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["new", "x", *TINY, "--tune", "method.beta"], "space.method.beta: is not among the tunable"),
        (["new", "x", *TINY, "--tune", "method.alpha=0.9..0.1"], "upside down"),
        (["new", "x", *TINY, "--fix", "method.temperature", "--fix", "method.alpha", "--fix", "method.feature_weight"],
         "space: is empty"),
        (["new", "x", *TINY, "--metrics", "f1"], "there is no metric 'f1'"),
        (["new", "x", *TINY, "--limit", "latency_ms=fast"], "expected a number"),
        (["new", "x", *TINY, "--seeds", "0"], "--seeds: found 0"),
        (["new", "x", *TINY, "--trials", "0"], "--trials"),
        (["new", "x", *TINY, "--sampler", "magic"], "sampler"),
        (["new", "x", "--ready", "none"], "there is no ready study 'none'; there are: ama_self, dcad"),
        (["new", "x", "--student", "resnet20", "--method", "nothing"], "experiment.method"),
        (["new", "done", *TINY], "there is a study 'done' already, with another"),
        (["show", "other"], "there is no study 'other'; there are: done"),
        (["confirm", "done", "--seeds", "1"], "seeds: found 1, expected 2 or more"),
        (["try", "done", "method.alpha=7"], "method.alpha: found 7"),
        (["try", "done", "recipe.lr=7"], "recipe.lr: is not searched"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(
    done: Mill, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    before = [job.id for job in done.store.jobs()]
    assert cli.main(["study", *words]) == 2
    assert says in capsys.readouterr().err
    assert [now.plan.name for now in control.views(done.workspace)] == ["done"]
    assert [job.id for job in done.store.jobs()] == before


def test_a_storage_that_is_not_there_is_told_in_words(
    home: Mill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_STUDY_STORAGE", "postgresql+psycopg://kd:secret@127.0.0.1:9/studies")
    assert cli.main(["study"]) == 3
    said = capsys.readouterr().err
    assert "cannot be used (KD_STUDY_STORAGE=postgresql+psycopg://kd:***@127.0.0.1:9/studies)" in said
    assert "Nothing of a study is lost" in said and "secret" not in said


@pytest.mark.parametrize("name", ready_made.names())
def test_every_ready_study_begins(home: Mill, name: str) -> None:
    assert cli.main(["study", "new", "ready", "--ready", name, "--queue"]) == 0
    now = control.view("ready", home.workspace)
    assert now.plan.experiment["method"]["name"] == name and now.plan.budget.trials == 20
    assert home.store.get("study-ready").is_controller
    controller = home.controller(now.plan)
    controller.turn()
    assert {job.kind for job in home.runs()} == {"train"}


def test_a_ready_study_is_changed_by_options(home: Mill) -> None:
    words = ["--ready", "dcad", "--epochs", "3", "--student", "resnet20", "--fix", "method.alpha", "--seeds", "2"]
    assert cli.main(["study", "new", "ready", *words, "--queue"]) == 0
    plan = control.view("ready", home.workspace).plan
    assert plan.experiment["method"]["name"] == "dcad" and plan.experiment["student"]["name"] == "resnet20"
    assert plan.experiment["recipe"]["epochs"] == 3 and plan.experiment["data"]["per_class"] == 10
    assert "method.alpha" not in {each.field for each in plan.searched} and plan.seeds == (0, 1)


def test_the_queue_knows_a_study(done: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["jobs"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "study-done" in line)
    assert "15 of 15 trials" in line and "byot" in line
    assert cli.main(["resume", "study-done"]) == 2
    assert "kd study resume done" in capsys.readouterr().err
    for command in (["doctor"], ["disk"]):
        assert cli.main(command) == 0


def test_the_plan_lies_in_the_folder_of_its_job(done: Mill) -> None:
    text = (done.workspace.run("study-done").path / "spec.yaml").read_text()
    assert yaml.safe_load(text)["kind"] == "study"
    assert Path(done.workspace.run("study-done").path / "command.txt").read_text().strip() == "kd study resume done"
    assert EXPERIMENT["method"] == "byot"
