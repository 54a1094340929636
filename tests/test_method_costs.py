"""What the methods cost beside plain training: counted for the networks that were chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kdengine.evaluation.cost import count
from kdengine.forecast.operations import Relative, relative_costs
from kdengine.models.backbone import build_model
from kdengine.registry import METHODS
from kdengine.workspace import Workspace

EXPERIMENT: dict[str, Any] = {"data": {"name": "digits", "image_size": 16}, "student": {"name": "resnet20"}}


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Relative]:
    return relative_costs(EXPERIMENT, "resnet8x4", Workspace(tmp_path_factory.mktemp("home")))


def test_every_method_is_counted_or_says_why_not(costs: dict[str, Relative]) -> None:
    assert list(costs) == METHODS.names() and costs["none"] == Relative(1.0)
    assert all((found.ratio is None) == bool(found.why) for found in costs.values())


def test_a_teacher_costs_its_forward_pass(costs: dict[str, Relative]) -> None:
    """A step passes through the student three times: forward, and back to activations and to weights."""
    student, teacher = (count(build_model(name, 10, 16)).macs for name in ("resnet20", "resnet8x4"))
    assert costs["kd"].ratio == pytest.approx(1 + teacher / (3 * student), rel=0.02)
    assert costs["mix_skd"].ratio == pytest.approx(2, rel=0.05), "every image also mixed"


def test_without_a_teacher_those_that_need_one_are_refused_in_words(tmp_path: Any) -> None:
    found = relative_costs(EXPERIMENT, "", Workspace(tmp_path))
    assert found["kd"].ratio is None and "teacher" in found["kd"].why
    assert found["byot"].ratio is not None


def test_counting_leaves_no_trace(tmp_path: Any) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    relative_costs(EXPERIMENT | {"recipe": {"name": "quick", "batch_size": 8}}, "", Workspace(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(tmp_path.rglob("*.pt"))
