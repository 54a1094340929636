"""Data that changed after training: said in numbers and names, and gone on with at a person's word alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from archives import as_folder, image_files
from support import tiny_spec

from kdengine import assembly, cli, runner
from kdengine.errors import BadInput, DataChanged
from kdengine.export import Request, export
from kdengine.inspection.opening import data_of
from kdengine.jobs import JobStore
from kdengine.jobs.supervision import REQUESTS
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import ACCEPTS_CHANGED_DATA, RunDirectory
from kdengine.workspace.states import State

RECIPE = {"epochs": 1, "batch_size": 8, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Path:
    """A workspace with one run, ``own``, on a folder of 15 images a class."""
    place = tmp_path_factory.mktemp("changed")
    shutil.copytree(furnished, place / "home")
    as_folder(place / "mine", image_files({"cat": 15, "dog": 15}))
    data = {"name": "folder", "path": str(place / "mine"), "image_size": 16}
    spec = tiny_spec(recipe=RECIPE).model_dump(mode="json") | {"data": data}
    runner.run(ExperimentSpec.from_mapping(spec), run_id="own", workspace=Workspace(place / "home"))
    shutil.copytree(place / "home" / "runs" / "own", place / "as trained")
    return place


@pytest.fixture
def own(trained: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """The run, its folder and its data as they were after training, whatever a test did before."""
    monkeypatch.setenv("KD_HOME", str(trained / "home"))
    shutil.rmtree(trained / "mine")
    as_folder(trained / "mine", image_files({"cat": 15, "dog": 15}))
    run = Workspace(trained / "home").run("own")
    shutil.rmtree(run.path)
    shutil.copytree(trained / "as trained", run.path)
    (trained / "home" / "jobs.db").unlink(missing_ok=True)
    return run


def described(run: RunDirectory) -> dict[str, Any]:
    return ExperimentSpec.from_yaml(run.spec_text()).model_dump(mode="json")


def add(run: RunDirectory, classes: dict[str, int]) -> None:
    as_folder(run.home.parent / "mine", image_files(classes, seed=1))


def test_eval_asks_before_it_tests_on_other_images(own: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "own", "--device", "cpu"]) == 0
    add(own, {"cat": 40})
    capsys.readouterr()
    assert cli.main(["eval", "own", "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert not out and "30 images (22 train, 2 validation, 6 test) in 2 classes then, 55 images" in err
    assert "--data-changed accept" in err
    assert cli.main(["eval", "own", "--device", "cpu", "--data-changed", "accept"]) == 0
    assert cli.main(["eval", "own", "--device", "cpu"]) == 0, "accepted for these data"
    add(own, {"dog": 50})
    assert cli.main(["eval", "own", "--device", "cpu"]) == 2, "others were never accepted"


@pytest.mark.parametrize("command", ["eval", "export", "resume"])
def test_another_number_of_classes_is_refused_in_a_sentence(
    own: RunDirectory, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(own, {"emu": 15})
    if command == "resume":
        own.update_status(state=State.STOPPED)
    before = own.status()
    more = ["--out", str(tmp_path / "out")] if command == "export" else []
    assert cli.main([command, "own", "--data-changed", "accept", *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kd: ")]
    assert "in 2 classes then" in line and "in 3 classes now; classes that came: emu" in line
    assert own.status() == before and not (tmp_path / "out").exists()


def test_resume_refuses_other_images_without_a_word(own: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    own.update_status(state=State.STOPPED)
    add(own, {"cat": 40})
    assert cli.main(["resume", "own"]) == 2
    assert "55 images" in capsys.readouterr().err and own.state() == State.STOPPED
    with pytest.raises(BadInput, match="55 images"):  # as the queue starts it
        runner.execute(own, Workspace(own.home))


def test_a_queued_run_goes_on_with_other_images_when_that_was_asked_for(own: RunDirectory) -> None:
    home = Workspace(own.home)
    store = JobStore(home)
    own.update_status(state=State.STOPPED)
    job = store.adopt(own)
    assert job is not None
    with pytest.raises(BadInput, match="did not end because its data had changed"):
        REQUESTS["accept"](store, "own")
    add(own, {"cat": 40})
    with pytest.raises(DataChanged, match="55 images"):
        runner.execute(own, home)
    status = own.status()
    assert (status["state"], status["reason"]) == ("failed", "data_changed") and "as they are now" in status["advice"]
    store.change("own", {job.state}, state=State.FAILED, reason=status["reason"])
    assert REQUESTS["accept"](store, "own").state is State.QUEUED
    runner.execute(own, home)
    assert own.state() == State.FINISHED
    add(own, {"dog": 50})
    with pytest.raises(DataChanged, match="the data of own changed"):
        assembly.load_data_of(own, home)


def test_the_word_for_a_change_that_is_undone_is_for_no_later_one(own: RunDirectory) -> None:
    home = Workspace(own.home)
    own.update_status(**{ACCEPTS_CHANGED_DATA: True})
    assembly.load_data_of(own, home)
    add(own, {"cat": 40})
    with pytest.raises(DataChanged):
        assembly.load_data_of(own, home)


def test_all_who_open_the_data_of_a_run_ask(own: RunDirectory, tmp_path: Path) -> None:
    home = Workspace(own.home)
    student = ExperimentSpec.from_mapping(described(own) | {"method": "kd", "teacher": "run:own"})
    assembly.preflight(student, home)
    add(own, {"cat": 40})
    for opened in (
        lambda: data_of(home, own),
        lambda: export(own, home, tmp_path / "out", Request("safetensors", False, False, False, 10)),
        lambda: assembly.preflight(student, home),
    ):
        with pytest.raises(BadInput, match="the data of own changed since it was trained"):
            opened()
    assembly.load_data_of(own, home, accept=True)
    assembly.preflight(student, home)


def test_a_run_without_a_digest_is_not_compared(own: RunDirectory) -> None:
    status = own.status()
    kept = status["data"]
    own.update_status(data={key: value for key, value in kept.items() if key != "digest"})
    add(own, {"cat": 40})
    assert len(assembly.load_data_of(own, Workspace(own.home)).classes) == 2
    own.update_status(data=kept)


def test_a_teacher_of_the_other_rule_is_refused(own: RunDirectory) -> None:
    mapping = described(own)
    mapping |= {"data": mapping["data"] | {"split": "position"}, "method": "kd", "teacher": "run:own"}
    with pytest.raises(BadInput, match=r"set data\.split=image"):
        assembly.preflight(ExperimentSpec.from_mapping(mapping), Workspace(own.home))


def test_experiments_written_out_before_keep_their_rule_and_fingerprint(tmp_path: Path) -> None:
    new = ExperimentSpec.from_mapping({"data": {"name": "folder", "path": "/photos"}, "method": "none"})
    written = yaml.safe_load(new.to_yaml())
    del written["data"]["split"]
    old = ExperimentSpec.from_yaml(yaml.safe_dump(written))
    assert (new.flat()["data.split"], old.flat()["data.split"]) == ("image", "position")
    assert old.fingerprint() != new.fingerprint() and ExperimentSpec.from_yaml(old.to_yaml()) == old


def test_a_relative_path_is_stored_as_seen_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = ["--teacher", "resnet20", "--set", "data.path=mine"]
    assert cli.main(["train", "--dataset", "folder", *teacher, "--print"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["path"] == printed["teacher"]["spec"]["data"]["path"] == str(tmp_path / "mine")
