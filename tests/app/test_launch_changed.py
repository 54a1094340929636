"""What the Launch page says of an experiment's changed settings, and the program that it shows."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from app import catalog, forms, ready
from app.pages.launch import changed
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec

PLAIN: dict[str, Any] = {"data": "cifar10", "student": "resnet20", "method": "kd", "teacher": "resnet8x4"}
# Methods of which a setting decides whether there is a teacher, set otherwise than it comes.
TEACHER_BY_SETTING = [
    (name, {field: value}, {"teacher": "resnet8x4"} if not catalog.needs_teacher(name) else {})
    for name in METHODS.names()
    for field, info in METHODS.get(name).Params.model_fields.items()
    for value in forms.choices_of(info)
    if catalog.needs_teacher(name) != catalog.needs_teacher(name, {field: value})
]
SPECS: list[dict[str, Any]] = [
    PLAIN,
    PLAIN | {"method": {"name": "kd", "temperature": 2}, "seed": 3},
    PLAIN | {"data": {"name": "folder", "path": "/data/my cats"}, "title": 'a "name"', "runtime": {"threads": 2}},
    PLAIN | {"recipe": {"name": "crd240", "lr": 1 / 12, "milestones": [3, 5]}},
    PLAIN | {"teacher": "run:20260101-abcd"},
    PLAIN | {"teacher": {"spec": {"student": "resnet8x4", "method": "none", "recipe": {"epochs": 3}}}},
    {"data": "digits", "student": {"name": "resnet20"}, "method": "byot"},
    *(
        {"data": "digits", "student": "resnet20", "method": {"name": name} | settings, **teacher}
        for name, settings, teacher in TEACHER_BY_SETTING
    ),
    *(dict(each.content) for each in ready.ALL.values()),
]


@pytest.mark.parametrize("content", SPECS, ids=str)
def test_the_program_makes_the_experiment(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ExperimentSpec.from_mapping(content)
    ran: list[ExperimentSpec] = []
    monkeypatch.setattr("kdengine.runner.run", ran.append)
    exec(changed.python(spec, changed.changes(spec)), {})
    assert ran == [spec]


def test_what_is_chosen_is_no_change_and_every_other_setting_is() -> None:
    assert changed.changes(ExperimentSpec.from_mapping(PLAIN)) == {}
    assert changed.changes(ExperimentSpec.from_mapping(PLAIN | {"recipe": "crd240", "title": "mine"})) == {}
    spec = ExperimentSpec.from_mapping(
        PLAIN | {"method": {"name": "kd", "temperature": 2}, "data": {"name": "cifar10", "cutout": 8}}
    )
    assert changed.changes(spec) == {"method.temperature": 2.0, "data.cutout": 8}


@pytest.mark.parametrize(("name", "settings", "teacher"), TEACHER_BY_SETTING)
def test_a_setting_that_asks_for_a_teacher_or_none_is_a_change_like_others(
    name: str, settings: dict[str, Any], teacher: dict[str, Any]
) -> None:
    chosen = {"data": "digits", "student": "resnet20", "method": {"name": name} | settings}
    found = changed.changes(ExperimentSpec.from_mapping(chosen | teacher))
    assert found == {f"method.{field}": value for field, value in settings.items()}


def test_chips_are_short_lead_to_fields_that_show_and_are_not_too_many() -> None:
    field = SimpleNamespace(label="Rate <lr>", elem_id="field-recipe-lr")
    words = changed.chips({"recipe.lr": 1 / 12, "recipe.ema": True}, {"recipe.lr": field})
    assert (
        'data-field="field-recipe-lr"' in words
        and "<span>Rate &lt;lr&gt;</span>" in words
        and ">0.08333</span></button>" in words
    )
    assert "<span>recipe.ema</span>" in words and ">on</span></span>" in words and "2 changed" in words
    many = changed.chips({f"a.{number}": number for number in range(20)}, {})
    assert "20 changed" in many and "and 8 more" in many and len(re.findall(r"<span>a\.", many)) == changed.MAX_CHIPS
    assert changed.chips({}, {}) == ""
