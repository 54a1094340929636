"""The command line: quick to answer, honest exit codes, and what its commands print."""

from __future__ import annotations

import csv
import io
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from support import Distilled, tiny_spec

from kdengine import ExperimentSpec
from kdengine.cli import main
from kdengine.workspace import Workspace
from kdengine.workspace.states import State


@pytest.fixture
def home(distilled: Distilled, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """``KD_HOME`` names the workspace of the shared runs."""
    monkeypatch.setenv("KD_HOME", str(distilled.workspace.root))
    return distilled.workspace


def test_help_comes_at_once() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "kdengine", "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0
    for command in ("train", "resume", "eval", "predict", "jobs", "list", "doctor", "ui"):
        assert f"\n    {command} " in done.stdout
    assert "execute" not in done.stdout and "supervise" not in done.stdout
    assert min(seconds) < 0.5, seconds


@pytest.mark.parametrize("module", ["torch", "mlflow", "gradio", "pydantic", "numpy"])
def test_help_imports_nothing_heavy(module: str) -> None:
    script = f"""
import sys, contextlib
from kdengine.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
sys.exit({module!r} in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_an_unknown_command_or_option_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["trian"], [], ["train", "--epoch-count", "3"], ["predict"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
        assert "usage: kd" in capsys.readouterr().err


def test_print_writes_the_whole_spec_and_no_run(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--student", "resnet20", "--epochs", "3", "--print"]) == 0
    spec = ExperimentSpec.from_yaml(capsys.readouterr().out)
    assert (spec.student.name, spec.recipe.epochs) == ("resnet20", 3)
    assert not workspace.runs.exists()


def test_train_prints_the_id_and_home_says_where(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)  # pytest's own handler keeps the command from setting it
    file = tmp_path / "spec.yaml"
    file.write_text(tiny_spec(recipe={"epochs": 1}).to_yaml())
    monkeypatch.setenv("KD_HOME", str(tmp_path / "elsewhere"))
    assert main(["--home", str(workspace.root), "train", "--spec", str(file), "--run-id", "mine"]) == 0
    assert capsys.readouterr().out == "mine\n"
    folder = workspace.run("mine")
    assert folder.state() == State.FINISHED
    assert "epoch 1/1: validation" in folder.log_file.read_text()
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_run_ends_with_3_and_advice(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kdengine.training.loop import Trainer

    def fails(self: Trainer) -> None:
        from kdengine.errors import NonFiniteLoss

        raise NonFiniteLoss("the loss term 'ce' became NaN")

    monkeypatch.setattr(Trainer, "fit", fails)
    words = ["--student", "resnet20", "--set", "data.per_class=20", "--set", "runtime.threads=1"]
    assert main(["train", *words]) == 3
    said = capsys.readouterr().err
    assert "kd: the loss term 'ce' became NaN" in said and "lower learning rate" in said
    assert "Traceback" not in said


def test_resume_of_a_finished_run_ends_with_2(
    home: Workspace, distilled: Distilled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", distilled.first.run_id]) == 2
    assert "is finished; clone it" in capsys.readouterr().err


def test_eval_repeats_the_numbers_of_the_run(
    home: Workspace, distilled: Distilled, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, part in (([], "best"), (["--last"], "last")):
        assert main(["eval", distilled.first.run_id, "--json", "--device", "cpu", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {key: found[key] for key in ("accuracy", "top5", "loss", "ece")} == pytest.approx(
            distilled.first.metrics[part], abs=1e-5
        )
        assert found["count"] == 359 and list(found["per_class"]) == list("0123456789")


def test_eval_for_people(home: Workspace, distilled: Distilled, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", distilled.first.run_id, "--part", "validation", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    best = home.run(distilled.first.run_id).status()["best"]["accuracy"]
    assert f"accuracy  {100 * best:.1f} %" in said
    assert "(resnet8, best by validation) on validation, 143 images" in said


@pytest.mark.parametrize("command", ["eval", "resume"])
def test_a_run_that_is_not_there_ends_with_2(
    command: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "nowhere"]) == 2
    assert "kd: run: there is no run 'nowhere'" in capsys.readouterr().err


def test_predict_answers_the_good_and_names_the_bad(
    home: Workspace, distilled: Distilled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("L", (40, 40), 200).save(good)
    bad.write_text("words")
    assert main(["predict", distilled.first.run_id, str(bad), str(good), "--top", "3", "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert said.out.count(" %") == 3 and said.out.startswith(f"{good}: ") and " ms)" in said.out
    assert f"{bad} is not an image" in said.err


def test_predict_as_a_table(
    home: Workspace, distilled: Distilled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / f"{number}, grey.png") for number in range(3)]
    for name in names:
        Image.new("L", (16, 16), 90).save(name)
    assert main(["predict", distilled.first.run_id, *names, "--csv", "--device", "cpu"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [row[0] for row in rows] == names
    assert all(row[1] in "0123456789" and 0 < float(row[2]) <= 1 for row in rows)
    assert len({tuple(row[1:]) for row in rows}) == 1
