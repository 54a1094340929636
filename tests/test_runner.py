"""One run from a spec, end to end: what it leaves, how it stops, dies and resumes, and what is refused before it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support import Distilled, distilled_spec, last_step, long_spec, signal_at_step, start_kd, tiny_spec, wait_for

from kdengine import ExperimentSpec, run, runner
from kdengine.cli import main
from kdengine.errors import BadInput, KdError, Stopped
from kdengine.models.stored import load_student, read_card
from kdengine.runner.stopping import StopRequest
from kdengine.workspace import Workspace, files
from kdengine.workspace.states import State

# what a run leaves ---------------------------------------------------------------------------------------------------


def test_the_result_says_how_it_went(distilled: Distilled) -> None:
    result = distilled.first
    assert (result.state, result.path) == (State.FINISHED, distilled.workspace.run(result.run_id).path)
    assert set(result.metrics) == {"best", "last", "validation"}
    assert result.test_accuracy == result.metrics["best"]["accuracy"]
    assert 0 <= result.metrics["last"]["accuracy"] <= 1


def test_the_files_of_a_run(distilled: Distilled) -> None:
    folder = distilled.workspace.run(distilled.first.run_id)
    names = {path.name for path in folder.path.iterdir() if not path.name.startswith(".")}
    assert names >= {
        *("spec.yaml", "command.txt", "environment.json", "status.json", "events.jsonl", "heartbeat", "checkpoints"),
        *("student.safetensors", "last.safetensors", "model_card.json", "mlflow.json"),
    }
    assert ExperimentSpec.from_yaml(folder.spec_file.read_text()) == distilled_spec()
    assert (folder.path / "command.txt").read_text().strip() == distilled_spec().command()
    assert folder.environment()["threads"] == 1 and folder.environment()["packages"]["torch"]
    assert not list(folder.path.rglob("*.tmp"))


def test_the_status_of_a_finished_run(distilled: Distilled) -> None:
    status = distilled.workspace.run(distilled.first.run_id).status()
    assert (status["state"], status["phase"], status["exit_code"], status["attempt"]) == ("finished", "done", 0, 1)
    assert status["fingerprint"] == distilled_spec().fingerprint()
    assert status["progress"] == {"epoch": 2, "epochs": 2, "step": 0, "steps": 6}
    assert status["data"] | {"digest": ""} == {
        "classes": 10,
        "train": 200,
        "validation": 143,
        "test": 359,
        "digest": "",
    }
    assert status["test"] == {key: distilled.first.metrics[key] for key in ("best", "last")}
    assert len(status["per_class"]) == 10


def test_the_teacher_is_trained_once_and_found_again(distilled: Distilled) -> None:
    first, second = (distilled.workspace.run(result.run_id).status() for result in distilled[1:])
    assert first["teacher_run"] == second["teacher_run"]
    teacher = distilled.workspace.run(first["teacher_run"])
    assert teacher.state() == State.FINISHED and teacher.status()["attempt"] == 1
    assert teacher.id.split("-", 2)[2].startswith("teacher-resnet8")
    assert len(distilled.workspace.list_runs()) == 3
    spec = distilled_spec()
    assert spec.teacher is not None and spec.teacher.spec is not None
    assert teacher.status()["fingerprint"] == spec.teacher.spec.fingerprint()


def test_equal_specs_give_equal_weights(distilled: Distilled) -> None:
    for file in ("student.safetensors", "last.safetensors"):
        assert (distilled.first.path / file).read_bytes() == (distilled.second.path / file).read_bytes()


def test_the_teacher_taught(distilled: Distilled) -> None:
    teacher = distilled.workspace.run(distilled.workspace.run(distilled.first.run_id).status()["teacher_run"])
    assert teacher.student_file.read_bytes() != (distilled.first.path / "student.safetensors").read_bytes()
    events = distilled.workspace.run(distilled.first.run_id).latest("epoch", "epoch")
    assert all(event["terms"]["kd"]["raw"] > 0 for event in events)
    assert not any("teacher" in key for key in load_file(distilled.first.path / "student.safetensors"))


def test_the_card_is_enough_to_use_the_weights(distilled: Distilled) -> None:
    backbone, card = load_student(distilled.workspace.run(distilled.first.run_id))
    assert (card.model, card.image_size, card.weights) == ("resnet8", 16, "raw")
    assert card.classes == tuple("0123456789")
    assert card.metrics["test"]["best"]["accuracy"] == distilled.first.test_accuracy
    assert not backbone.training


def test_test_pictures_are_read_once_and_at_the_end(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdengine import assembly

    asked: list[tuple[str, str]] = []
    make = assembly.evaluation_batches

    def watched(spec: Any, bundle: Any, part: str, device: Any) -> Any:
        phase = workspace.list_runs()[0].status()["phase"]
        asked.append((part, phase))
        return make(spec, bundle, part, device)

    monkeypatch.setattr(assembly, "evaluation_batches", watched)
    run(tiny_spec(recipe={"ema": 0.5}), workspace=workspace)
    assert [part for part, _ in asked].count("test") == 1
    assert ("test", "testing") in asked


def test_exits_are_tested_too(workspace: Workspace) -> None:
    result = run(tiny_spec(method="byot", recipe={"epochs": 1}), workspace=workspace)
    assert set(result.metrics) == {"best", "last", "exit 1", "exit 2", "ensemble", "validation"}
    card = read_card(workspace.run(result.run_id))
    assert set(card.metrics["test"]) == {"best", "last", "exit 1", "exit 2", "ensemble"}
    assert not any("branches" in key for key in load_file(result.path / "student.safetensors"))


# failing --------------------------------------------------------------------------------------------------------------


def test_a_broken_loss_fails_the_run_and_keeps_the_checkpoint(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdengine.methods.none import Alone

    forward = Alone.forward
    calls = iter(range(100))

    def breaks(self: Any, *arguments: Any) -> Any:
        terms = forward(self, *arguments)
        return terms if next(calls) < 8 else {"ce": terms["ce"]._replace(raw=terms["ce"].raw * float("nan"))}

    monkeypatch.setattr(Alone, "forward", breaks)
    with pytest.raises(KdError, match="the loss term 'ce' became NaN"):
        run(tiny_spec(), run_id="broken", workspace=workspace)
    folder = workspace.run("broken")
    status = folder.status()
    assert (status["state"], status["reason"], status["exit_code"]) == ("failed", "nan_loss", 3)
    assert "lower learning rate" in status["advice"] and "'ce'" in status["message"]
    assert folder.last_checkpoint.is_file()
    monkeypatch.undo()
    result = run(tiny_spec(), run_id="broken", workspace=workspace, resume=True)
    assert result.state == State.FINISHED
    assert folder.status()["reason"] is None and folder.status()["attempt"] == 2


def test_a_fault_of_the_program_is_recorded_as_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdengine.methods.none import Alone

    def breaks(self: Any, *arguments: Any) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Alone, "forward", breaks)
    with pytest.raises(KdError, match="ZeroDivisionError: by zero"):
        run(tiny_spec(), run_id="crashed", workspace=workspace)
    assert workspace.run("crashed").status()["reason"] == "crashed"


# stopping, killing, resuming ------------------------------------------------------------------------------------------


def assert_equal_end(path: Path, undisturbed: Path) -> None:
    for file in ("student.safetensors", "last.safetensors"):
        assert files.digest(path / file) == files.digest(undisturbed / file), file
    tests = [json.loads((folder / "status.json").read_text())["test"] for folder in (path, undisturbed)]
    assert tests[0] == tests[1]


def test_stopped_by_sigterm_then_by_ctrl_c_then_resumed(workspace: Workspace, undisturbed: Path) -> None:
    folder = runner.create(long_spec(), workspace, "run")
    assert signal_at_step(folder, start_kd(workspace, "resume", "run"), 4, signal.SIGTERM) == 143
    status = folder.status()
    assert (status["state"], status["reason"], status["exit_code"]) == ("stopped", "stopped", 143)
    assert folder.last_checkpoint.is_file()
    stopped_at = last_step(folder)
    assert signal_at_step(folder, start_kd(workspace, "resume", "run"), stopped_at + 4, signal.SIGINT) == 130
    assert (folder.status()["state"], folder.status()["exit_code"]) == ("stopped", 130)
    assert last_step(folder) < 24
    result = run(long_spec(), run_id="run", workspace=workspace, resume=True)
    assert result.state == State.FINISHED and folder.status()["attempt"] == 3
    assert_equal_end(folder.path, undisturbed)


def test_killed_twice_and_resumed_equals_undisturbed(killed_twice: Workspace, undisturbed: Path) -> None:
    folder = killed_twice.run("run")
    assert folder.state() == State.FINISHED and folder.status()["attempt"] == 3
    assert_equal_end(folder.path, undisturbed)


def test_a_teacher_in_training_is_stopped_with_its_student(workspace: Workspace) -> None:
    folder = runner.create(distilled_spec(recipe={"epochs": 20}), workspace, "student")
    process = start_kd(workspace, "resume", "student")
    wait_for(lambda: "teacher_run" in folder.status(), process)
    teacher = workspace.run(folder.status()["teacher_run"])
    assert signal_at_step(teacher, process, 3, signal.SIGTERM) == 143
    assert (folder.state(), teacher.state()) == (State.STOPPED, State.STOPPED)
    assert teacher.last_checkpoint.is_file()


def test_stop_in_this_process(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StopRequest, "__bool__", lambda self: True)
    with pytest.raises(Stopped):
        run(tiny_spec(), run_id="run", workspace=workspace)
    monkeypatch.undo()
    assert workspace.run("run").status()["progress"]["step"] == 1
    assert run(tiny_spec(), run_id="run", workspace=workspace, resume=True).state == State.FINISHED


def test_stopped_while_the_checkpoint_is_read_is_stopped_and_no_damage(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runner.create(tiny_spec(), workspace, "run")

    def come(*_: Any, **__: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)

    folder.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    folder.last_checkpoint.write_bytes(b"whole, but not yet read")
    monkeypatch.setattr("torch.load", come)
    with pytest.raises(Stopped):
        runner.execute(folder, workspace)
    status = folder.status()
    assert (status["state"], status["reason"], status["exit_code"]) == ("stopped", "stopped", 143)


def test_a_second_process_on_the_same_run_is_refused(workspace: Workspace) -> None:
    folder = runner.create(tiny_spec(), workspace, "run")
    with (
        files.lock(folder.path / ".running.lock"),
        pytest.raises(BadInput, match="is being trained by another process"),
    ):
        runner.execute(folder, workspace)


def test_a_finished_run_is_not_trained_again(distilled: Distilled, capsys: pytest.CaptureFixture[str]) -> None:
    folder = distilled.workspace.run(distilled.first.run_id)
    before = folder.status()
    with pytest.raises(BadInput, match="is finished; clone it"):
        runner.execute(folder, distilled.workspace)
    assert folder.status() == before


def test_resume_needs_a_run_that_exists(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="there is no run 'nowhere'"):
        run(tiny_spec(), run_id="nowhere", workspace=workspace, resume=True)
    with pytest.raises(BadInput, match="needs the id"):
        run(tiny_spec(), workspace=workspace, resume=True)


def test_a_damaged_checkpoint_is_named(workspace: Workspace) -> None:
    folder = runner.create(tiny_spec(), workspace, "run")
    folder.last_checkpoint.write_bytes(b"half of a checkpoint")
    with pytest.raises(KdError, match="cannot be read"):
        runner.execute(folder, workspace)
    assert folder.state() == State.FAILED


# refused before anything is written ----------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What ``kd train`` says when it refuses; it must end with 2."""
    assert main(["train", *words]) == 2
    return capsys.readouterr().err


TINY = ("--student", "resnet20", "--set", "data.per_class=20", "--set", "runtime.threads=1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "recipe.batch_size=500"], "recipe.batch_size: 500 is larger than the 200 images"),
        (["--set", "runtime.device=cuda:7"], "runtime.device: there is no device 'cuda:7' here; there are: cpu"),
        (["--teacher", "run:nobody"], "teacher.run: there is no run 'nobody'"),
        (["--teacher", "run:../../etc"], "teacher.run: '../../etc' is not a run id"),
        (["--teacher", "resnet21"], "teacher.spec.student.name: there is no model 'resnet21'; did you mean 'resnet32'"),
        (["--student", "vgg11"], "data.image_size: vgg11 halves the map so often that 16 px would shrink below 1x1"),
        (["--teacher", "vgg11"], "teacher.spec.data.image_size: vgg11 halves the map"),
        (
            ["--teacher", "resnet20", "--set", "teacher.spec.recipe.batch_size=900"],
            "teacher.spec.recipe.batch_size: 900 is larger than the 200 images",
        ),
        (
            ["--teacher", "resnet20", "--set", "teacher.spec.data.image_size=32"],
            "teacher.spec.data: the teacher is trained on digits at 32 px, the student on digits at 16 px",
        ),
        (["--set", "data.per_class=1000"], "data.per_class: 1000 asked for, but fewer remain"),
        (["--set", "data.fraction=0.5"], "data.per_class: give per_class or a fraction below 1, not both"),
        (
            ["--method", "sim_kd", "--teacher", "timm/convnext_atto", "--set", "data.image_size=32"],
            "method.features: the classifier of timm/convnext_atto reads something else than the mean of its last map",
        ),
        (["--dataset", "digit"], "data.name: there is no data set 'digit'; did you mean 'digits'"),
        (["--run-id", "a/b"], "'a/b' is not a run id"),
    ],
)
def test_bad_input_in_words_and_no_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert expected in refused(capsys, *TINY, *words)
    assert not list(workspace.runs.glob("*"))


def test_every_problem_at_once(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--set",
        "recipe.batch_size=500",
        "--set",
        "runtime.device=cuda:7",
        "--student",
        "vgg11",
        "--teacher",
        "run:x",
    ]
    said = refused(capsys, *TINY, *words)
    for field in ("recipe.batch_size", "runtime.device", "data.image_size", "teacher.run"):
        assert said.count(f"kd: {field}: ") == 1, said


def test_one_class_only(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    from PIL import Image

    (tmp_path / "images" / "cat").mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(tmp_path / "images" / "cat" / f"{number}.png")
    said = refused(capsys, "--dataset", "folder", "--set", f"data.path={tmp_path / 'images'}")
    assert "a classifier needs at least 2 classes with images, found 1: cat" in said
    assert not list(workspace.runs.glob("*"))


@pytest.mark.parametrize("place", ["below a file", "/proc/kd"])
def test_a_workspace_that_cannot_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    home = str(tmp_path / "file" / "home") if place == "below a file" else place
    monkeypatch.setenv("KD_HOME", home)
    said = refused(capsys, *TINY)
    assert said.startswith(f"kd: KD_HOME: the workspace {home} cannot be written to") and "set KD_HOME" in said
    assert len(said.splitlines()) == 1


def test_no_space_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(workspace.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5 << 20))
    said = refused(capsys, *TINY)
    assert "only 5 MB are free" in said and "at least 200 MB are needed" in said
    assert not list(workspace.runs.glob("*"))


def test_a_taken_run_id(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    runner.create(tiny_spec(), workspace, "taken")
    assert "the run 'taken' exists already" in refused(capsys, *TINY, "--run-id", "taken")


class TestTeacherRuns:
    """A finished run as a teacher must fit; each test changes the card or state of a copy."""

    @pytest.fixture
    def teacher(self, workspace: Workspace, distilled: Distilled) -> Path:
        source = distilled.workspace.run(distilled.first.run_id).path
        shutil.copytree(source, workspace.runs / "teacher")
        return workspace.runs / "teacher"

    def change(self, file: Path, **changes: Any) -> None:
        files.write_json(file, files.read_json(file) | changes)

    def refusal(self, capsys: pytest.CaptureFixture[str], workspace: Workspace) -> str:
        said = refused(capsys, *TINY, "--teacher", "run:teacher")
        assert [folder.name for folder in workspace.runs.iterdir()] == ["teacher"]
        return said

    @pytest.mark.parametrize("state", ["queued", "running", "stopped", "failed"])
    def test_unfinished(
        self, state: str, teacher: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.change(teacher / "status.json", state=state)
        assert f"the run teacher is {state}, a teacher must be finished" in self.refusal(capsys, workspace)

    def test_other_number_of_classes(
        self, teacher: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.change(teacher / "model_card.json", classes=["a", "b", "c"])
        assert "knows 3 classes, digits has 10" in self.refusal(capsys, workspace)

    def test_other_names_of_classes(
        self, teacher: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.change(teacher / "model_card.json", classes=list("1023456789"))
        assert "name their classes differently: '1' and '0', '0' and '1'" in self.refusal(capsys, workspace)

    def test_other_image_size(self, teacher: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        self.change(teacher / "model_card.json", image_size=32)
        assert "trained on 32 px images, the student's are 16 px" in self.refusal(capsys, workspace)

    def test_weights_that_do_not_fit(
        self, teacher: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.change(teacher / "model_card.json", model="resnet8x4")
        assert "student.safetensors does not fit resnet8x4" in self.refusal(capsys, workspace)

    def test_a_finished_run_teaches(self, teacher: Path, workspace: Workspace) -> None:
        spec = tiny_spec(method="kd", teacher="run:teacher", recipe={"epochs": 1})
        result = run(spec, workspace=workspace)
        assert workspace.run(result.run_id).status()["teacher_run"] == "teacher"


def test_a_unique_beginning_or_end_of_an_id_is_enough(workspace: Workspace) -> None:
    for name in ("20250101-none-aa11", "20250102-none-bb22"):
        runner.create(tiny_spec(), workspace, name)
    assert workspace.existing_run("bb22").id == "20250102-none-bb22"
    assert workspace.existing_run("20250101").id == "20250101-none-aa11"
    with pytest.raises(BadInput, match="several begin or end so"):
        workspace.existing_run("2025")
    with pytest.raises(BadInput, match="is not a run id"):
        workspace.existing_run("")


def test_stray_folders_among_the_runs_do_no_harm(workspace: Workspace) -> None:
    runner.create(tiny_spec(), workspace, "run")
    for name in ("my old run", ".trash", "empty"):
        (workspace.runs / name).mkdir()
    assert [folder.id for folder in workspace.list_runs()] == ["run"]
