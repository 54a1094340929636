"""The form of the Studies page: what is seen is what a study takes, by a click and in a shell alike."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest

from app.pages.studies import form_values
from app.pages.studies.board import StudyBoard
from kdengine.errors import BadInput
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from studies import plan, ready_made, shell, space


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


def by_shell(filled: dict[str, Any]) -> plan.StudyPlan:
    """The plan that the shown command makes."""
    parser = argparse.ArgumentParser()
    shell.add_arguments(parser)
    words = shlex.split(form_values.command(filled))
    assert words[:2] == ["kd", "study"]
    return shell._plan(parser.parse_args(words[2:]))


def test_choices_are_those_of_a_plan() -> None:
    fields = plan.StudyPlan.model_fields
    assert set(form_values.SAMPLERS) == set(get_args(fields["sampler"].annotation))
    assert set(form_values.PRUNERS) == set(get_args(fields["pruner"].annotation))
    assert list(form_values.OBJECTIVES) == list(plan.METRICS)
    assert {name: fields[name].default for name in form_values.COMMON} == form_values.COMMON


@pytest.mark.parametrize("name", ready_made.names())
def test_a_ready_study_fills_the_form_and_comes_back_whole(name: str, workspace: Workspace) -> None:
    filled = form_values.ready(workspace, name)
    wanted = plan.read(ready_made.load(name))
    made = plan.read(form_values.plan_mapping(workspace, filled))
    assert {each.field: each for each in made.searched} == {each.field: each for each in wanted.searched}
    assert made.model_copy(update={"space": ()}) == wanted.model_copy(update={"space": ()})
    assert by_shell(filled).searched == made.searched
    assert by_shell(filled).experiment == made.experiment
    assert by_shell(filled).budget == made.budget


def test_a_range_means_what_it_says(workspace: Workspace) -> None:
    filled = form_values.ready(workspace, "kd")
    filled["space"] = [[True, "recipe.lr", "", "0.01..0.2"], [False, "method.temperature", "", "1..9"]]
    (only,) = plan.read(form_values.plan_mapping(workspace, filled)).searched
    assert (only.low, only.high, only.log) == (0.01, 0.2, False), "the setting declares log, the cell does not say it"
    assert by_shell(filled).searched == (only,)


def test_every_problem_is_said(workspace: Workspace) -> None:
    filled = form_values.ready(workspace, "kd") | {"name": "not good!"}
    filled["space"] = [[True, "method.temperature", "", "9..1"]]
    with pytest.raises(BadInput) as refused:
        plan.read(form_values.plan_mapping(workspace, filled))
    assert {problem.field for problem in refused.value.problems} == {"name", "space.method.temperature"}
    filled["space"] = [[False, "method.temperature", "", "1..9"]]
    with pytest.raises(BadInput, match="is empty"):
        plan.read(form_values.plan_mapping(workspace, filled))


def test_rows_keep_what_a_person_gave_them() -> None:
    rows = [[True, "method.a", "1", "0..1"], [False, "student.name", "resnet8", "resnet8"]]
    before = [[False, "method.a", "1", "0..5"], [True, "student.name", "resnet20", "resnet20, resnet8"]]
    assert form_values.kept(rows, before) == [[False, "method.a", "1", "0..5"], rows[1]]


def test_the_values_of_a_trial_by_hand() -> None:
    assert space.read_values(["method.temperature=2", "method.kind=gram"]) == {
        "method.temperature": 2,
        "method.kind": "gram",
    }
    for line in ("temperature", "=2", "method.temperature="):
        with pytest.raises(BadInput, match=r"values: found .*, expected path=value"):
            space.read_values(line.split())


def test_to_look_makes_no_database(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KD_STUDY_STORAGE", raising=False)
    assert StudyBoard(workspace).names() == [] and not workspace.studies_db.exists()


def test_an_experiment_of_the_launch_page_fills_the_form(workspace: Workspace) -> None:
    spec = ExperimentSpec.from_mapping(
        {
            "data": {"name": "digits", "per_class": 20, "image_size": 16},
            "teacher": "resnet8x4",
            "student": "resnet20",
            "method": {"name": "dkd", "beta": 2.0},
            "recipe": {"epochs": 7, "lr": 0.02},
        }
    )
    filled = form_values.of_spec(workspace, spec)
    assert (filled["method"], filled["student"], filled["epochs"], filled["per_class"]) == ("dkd", "resnet20", 7, "20")
    assert "method.beta=2.0" in filled["settings"] and "recipe.lr=0.02" in filled["settings"]
    again = ExperimentSpec.from_mapping(form_values.experiment(workspace, filled))
    assert again.fingerprint() == spec.fingerprint()
    with pytest.raises(BadInput, match="the student alone has no method to tune"):
        form_values.of_spec(
            workspace,
            spec.model_copy(
                update={
                    "method": ExperimentSpec.from_mapping(
                        {"data": "digits", "student": "resnet20", "method": "none"}
                    ).method
                }
            ),
        )


@pytest.mark.parametrize(("form", "teacher"), [("self", "resnet8x4"), ("reg", None)])
def test_a_setting_that_decides_whether_there_is_a_teacher_is_heeded(
    workspace: Workspace, form: str, teacher: str | None
) -> None:
    """``tf_kd`` imitates a network that was trained before in one of its forms only."""
    taught = {"teacher": teacher} if teacher else {}
    spec = ExperimentSpec.from_mapping({"student": "vgg8", "method": {"name": "tf_kd", "form": form}} | taught)
    filled = form_values.of_spec(workspace, spec)
    assert ExperimentSpec.from_mapping(form_values.experiment(workspace, filled)) == spec
    assert ("--teacher" in form_values.command(filled | asking_nothing())) == (teacher is not None)


def asking_nothing() -> dict[str, Any]:
    """The controls that an experiment does not fill."""
    return {
        "name": "x", "space": [], "trials": 1, "hours": "", "seeds": 1, "metrics": ["accuracy"], "sampler": "tpe",
        "pruner": "median", "startup": 5, "patience": 1,
    }  # fmt: skip
