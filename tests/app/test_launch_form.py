"""Every control of the Launch page reaches the experiment, and an experiment fills every control; without a browser."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from app.pages.launch.form import Form
from app.pages.launch.parts import draw
from kdengine.errors import BadInput
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Form:
    """The form as drawn; nothing of it computes."""
    form = Form(Workspace(tmp_path_factory.mktemp("home")))
    with gr.Blocks():
        draw(form)
    return form


def settled(form: Form, **changes: Any) -> dict[Any, Any]:
    return form.defaults() | {getattr(form, name): value for name, value in changes.items()}


def other(control: Any) -> Any:
    """Another valid thing for the component to hold than it holds."""
    component, now = control.component, control.component.value
    if isinstance(component, gr.Dropdown):
        return next(value for _, value in component.choices if value != now)
    if isinstance(component, gr.Checkbox):
        return not now
    if isinstance(component, gr.Number):
        return [now * 0.9, now + 1, now - 1, now + 0.01, now + 2]
    return ["3", "3, 4", "word"]


def accepted(form: Form, values: dict[Any, Any], control: Any) -> tuple[Any, Any]:
    """What was set, and what the experiment then says."""
    tries = other(control)
    for shown in tries if isinstance(tries, list) else [tries]:
        if shown != control.component.value:
            try:
                flat = form.spec(values | {control.component: shown}).flat()
            except BadInput:
                continue
            return control.to_value(shown), flat[control.path]
    raise AssertionError(f"{control.path} took nothing of {tries}")


def test_every_setting_of_every_method_network_and_data_set_reaches_the_experiment(form: Form) -> None:
    count = 0
    for (kind, name), controls in form.own.items():
        values = settled(form, **({kind: name} if kind != "data" or name != "folder" else {}))
        if (kind, name) == ("data", "folder"):
            continue  # needs images: tests/browser/test_upload.py
        for control in controls:
            wanted, found = accepted(form, values, control)
            assert found == wanted or list(found) == list(wanted), control.path
            count += 1
    assert count > 150


def test_an_experiment_fills_every_control_with_its_own_values(form: Form) -> None:
    spec = ExperimentSpec.from_mapping(
        {
            "data": {"name": "digits", "image_size": 24, "augmentation": "none", "per_class": 9},
            "student": "vgg8",
            "method": {"name": "dkd", "beta": 1.5},
            "teacher": "resnet8x4",
            "recipe": {"epochs": 7, "lr": 0.03},
            "seed": 11,
            "title": "nine",
        }
    )
    values = form.defaults() | form.shown(spec)
    assert form.spec(values).flat() == spec.flat()
    assert form.not_shown(form.shown(spec), spec) == []


def test_what_the_page_cannot_show_of_an_experiment_is_said(form: Form) -> None:
    """The teacher was trained under a recipe of its own; the page trains it under the student's."""
    spec = ExperimentSpec.from_mapping({"student": "vgg8", "method": "kd", "teacher": "resnet8x4"})
    mapping = spec.model_dump(mode="json")
    mapping["teacher"]["spec"]["recipe"]["epochs"] = 99
    other_teacher = ExperimentSpec.from_mapping(mapping)
    (lost,) = form.not_shown(form.shown(other_teacher), other_teacher)
    assert lost == "teacher.spec.recipe.epochs was 99, the form shows 12"


@pytest.mark.parametrize("form_of_method", ["reg", "self"])
def test_a_teacher_is_there_when_the_settings_of_the_method_want_one(form: Form, form_of_method: str) -> None:
    (control,) = [c for c in form.own["method", "tf_kd"] if c.path == "method.form"]
    spec = form.spec(settled(form, method="tf_kd") | {control.component: form_of_method})
    assert (spec.teacher is not None) == (form_of_method == "self")


def test_a_typed_teacher_of_timm_stays(form: Form) -> None:
    spec = form.spec(settled(form, teacher="timm/resnet10t"))
    assert spec.teacher is not None and spec.teacher.word() == "timm/resnet10t"
