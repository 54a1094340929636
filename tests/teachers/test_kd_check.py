"""``kd check`` and the published tables: what is told before anything is trained."""

from __future__ import annotations

import json

import pytest
from abroad import Abroad
from support import Distilled

from kdengine.cli import main
from kdengine.registry import METHODS, MODELS
from kdengine.teachers.pairs import TABLE, known_bad
from kdengine.workspace import Workspace


def test_shapes_pairs_and_the_warning_of_a_bad_pair(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "check",
        "--dataset",
        "digits",
        "--teacher",
        "resnet8x4",
        "--student",
        "mobilenetv3_small",
        "--method",
        "at",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "teacher   " in out and "10 classes, embedding 256, stages 64x16x16, 128x8x8, 256x4x4" in out
    assert "with the teacher's 3 256x4x4" in out
    assert "not known: it is trained first" in out
    assert "warning: at lost up to 6.0 points where a mobile net learned from another family" in out
    assert "resnet50 to mobilenet_v2_half 58.58 % against 64.60 % alone" in out
    assert "resnet8x4 to mobilenetv3_small is not in the table" in out
    assert not workspace.runs.exists()


def test_the_accuracy_of_a_teacher_that_is_trained_already(
    distilled: Distilled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_HOME", str(distilled.workspace.root))
    run = distilled.workspace.run(distilled.first.run_id)
    teacher = run.status()["teacher_run"]
    words = ["--teacher", f"run:{teacher}", "--student", "resnet20", "--set", "data.per_class=20"]
    assert main(["check", *words, "--set", "recipe.batch_size=32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = distilled.workspace.run(teacher).status()["best"]["accuracy"]
    assert found["accuracy"] == pytest.approx(told) and found["images"] == found["data"]["validation"]
    assert found["problems"] == [] and found["warnings"] == [] and "pairs" not in found


def test_what_cannot_work_is_refused_and_the_rest_is_told(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "check",
        "--teacher",
        "resnet8x4",
        "--student",
        "vgg11",
        "--method",
        "at",
        "--set",
        "recipe.batch_size=5000",
    ]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "data.image_size: vgg11 halves the map" in err and "recipe.batch_size: 5000" in err
    assert "digits at 16 px: 10 classes" in out and "nothing speaks against it" not in out


def test_an_import_is_told_too(workspace: Workspace, abroad: Abroad, capsys: pytest.CaptureFixture[str]) -> None:
    main(abroad.words("abroad"))
    capsys.readouterr()
    assert main(["check", "--teacher", "import:abroad", "--student", "resnet20", "--method", "at"]) == 0
    out = capsys.readouterr().out
    assert "kd" not in out.splitlines()[0] and "at · abroad → resnet20" in out
    assert "% of one validation batch (143 images)" in out and "nothing speaks against it" in out


def test_training_says_the_warning_and_goes_on(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--teacher", "resnet8x4", "--student", "mobilenetv3_small", "--method", "fitnet"]
    assert main([*words, "--set", "recipe.batch_size=5000"]) == 2  # refused for another reason: nothing is trained here
    err = capsys.readouterr().err
    assert err.splitlines()[0].startswith("kd: warning: fitnet lost up to 1.4 points where a mobile net learned")


def test_the_table_names_what_there_is_and_only_losses() -> None:
    for row in TABLE:
        assert row.distilled < row.alone
        assert METHODS.get(row.method) and all(name in MODELS for name in (row.teacher, row.student))


@pytest.mark.parametrize(
    ("method", "teacher", "student", "expected"),
    [
        ("at", "vgg13", "mobilenet_v2_half", "at lost up to 5.2 points with this pair"),
        ("rkd", "resnet32x4", "resnet8x4", "71.90 % against 72.50 % alone"),
        ("rkd", "resnet18", "timm/mobilenetv3_small_100", "rkd gained nothing where a mobile net"),
        ("at", "resnet18", "torchvision/mobilenet_v2", "nearest kin"),
        ("kd", "resnet50", "mobilenet_v2_half", ""),
        ("at", "mobilenet_v2", "mobilenet_v2_half", ""),
        ("at", "resnet32x4", "shufflenet_v1", ""),  # 71.73 % against 70.50 % alone: a gain
        ("fitnet", "resnet56", "resnet20", ""),
    ],
)
def test_what_the_tables_say(method: str, teacher: str, student: str, expected: str) -> None:
    said = known_bad(method, teacher, student)
    assert (expected in said[0]) if expected else said == []
