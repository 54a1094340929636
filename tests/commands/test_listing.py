"""``kd list``: everything registered is in it, and an entry tells its settings as they are declared."""

from __future__ import annotations

import json

import pytest

from kdengine.cli import main
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec.named_recipes import RECIPES
from kdengine.workspace import Workspace


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    assert main(["list", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("methods", METHODS.names()),
        ("models", MODELS.names()),
        ("datasets", DATASETS.names()),
        ("recipes", list(RECIPES)),
    ],
)
def test_everything_registered_is_listed(
    kind: str, names: list[str], workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [row["name"] for row in listed(capsys, kind)] == names
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "name" and [line.split()[0] for line in lines[1 : 1 + len(names)]] == names


def test_methods_say_whether_they_need_a_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    needs = {row["name"]: row["teacher"] for row in listed(capsys, "methods")}
    assert needs["kd"] and needs["at"] and not needs["none"] and not needs["byot"]


def test_a_part_of_names_and_a_shell_pattern_narrow_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in listed(capsys, "models", "mobilenetv3")] == [
        "mobilenetv3_small",
        "mobilenetv3_large",
    ]
    assert {row["name"] for row in listed(capsys, "models", "resnet[35]*")} >= {"resnet34", "resnet50", "resnet56"}


def test_one_entry_tells_its_parameters_as_declared(capsys: pytest.CaptureFixture[str]) -> None:
    entry = listed(capsys, "methods", "dkd")
    fields = METHODS.get("dkd").Params.model_fields
    assert [parameter["name"] for parameter in entry["parameters"]] == list(fields)
    temperature = entry["parameters"][0]
    assert temperature["default"] == fields["temperature"].default and temperature["bounds"] == "> 0, ≤ 100"
    assert temperature["tune"] == "1 .. 10, log" and "mdistiller" in temperature["source"]
    assert main(["list", "methods", "dkd"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in fields) and "CVPR 2022" in out


def test_a_recipe_tells_the_numbers_it_fills_in(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {row["name"]: row for row in listed(capsys, "recipes", "crd240")["parameters"]}
    assert numbers["epochs"]["default"] == 240 and numbers["milestones"]["default"] == [150, 180, 210]
    assert "0.01 for MobileNet" in numbers["lr"]["description"]


def test_models_tell_their_cost_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = listed(capsys, "models", "resnet8x?", "--cost")
    assert row["parameters"] == 1_233_540 and row["MACs"] == pytest.approx(177e6, rel=0.01)
    assert "parameters" not in listed(capsys, "models", "resnet8x*")[0]


def test_models_of_other_libraries_are_mentioned_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models"]) == 0
    out = capsys.readouterr().out
    assert "timm/<name>" in out and "torchvision/<name>" in out
    assert listed(capsys, "models", "timm/resnet18")["name"] == "timm/resnet18"


def test_datasets_say_whether_they_are_here(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    here = {row["name"]: row["here"] for row in listed(capsys, "datasets")}
    assert here["digits"] == "present" and here["cifar10"] == "to be downloaded" and here["folder"] == "your own"
    assert not workspace.datasets.exists() or not list(workspace.datasets.glob("cifar*"))


@pytest.mark.parametrize(("kind", "name", "near"), [("methods", "dkdd", "dkd"), ("recipes", "crd24x", "crd240")])
def test_an_unknown_name_is_bad_input_with_what_there_is(
    kind: str, name: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", kind, name]) == 2
    assert near in capsys.readouterr().err
