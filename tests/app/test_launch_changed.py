"""What the Launch page says of an experiment's changed settings, and the program that it shows."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from app import ready
from app.pages.launch import changed
from kdengine.spec import ExperimentSpec

PLAIN: dict[str, Any] = {"data": "cifar10", "student": "resnet20", "method": "kd", "teacher": "resnet8x4"}
SPECS: list[dict[str, Any]] = [
    PLAIN,
    PLAIN | {"method": {"name": "kd", "temperature": 2}, "seed": 3},
    PLAIN | {"data": {"name": "folder", "path": "/data/my cats"}, "title": 'a "name"', "runtime": {"threads": 2}},
    PLAIN | {"recipe": {"name": "crd240", "lr": 1 / 12, "milestones": [3, 5]}},
    PLAIN | {"teacher": "run:20260101-abcd"},
    PLAIN | {"teacher": {"spec": {"student": "resnet8x4", "method": "none", "recipe": {"epochs": 3}}}},
    {"data": "digits", "student": {"name": "resnet20"}, "method": "byot"},
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


def test_chips_are_short_lead_to_fields_that_show_and_are_not_too_many() -> None:
    field = SimpleNamespace(label="Rate <lr>", elem_id="field-recipe-lr")
    words = changed.chips({"recipe.lr": 1 / 12, "recipe.ema": True}, {"recipe.lr": field})
    assert 'data-field="field-recipe-lr"' in words and "Rate &lt;lr&gt; 0.08333</button>" in words
    assert "<span>recipe.ema on</span>" in words and "2 changed" in words
    many = changed.chips({f"a.{number}": number for number in range(20)}, {})
    assert "20 changed" in many and "and 8 more" in many and len(re.findall(r"<span>a\.", many)) == changed.MAX_CHIPS
    assert changed.chips({}, {}) == ""
