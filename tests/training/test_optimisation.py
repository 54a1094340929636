"""Learning rates by hand, and the EMA."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support import TinyNet

from kdengine.spec import RecipeSpec
from kdengine.training.optimisation import build_optimizer, learning_rate, make_ema


def recipe(**changes: Any) -> RecipeSpec:
    plain = {"epochs": 10, "lr": 0.1, "schedule": "constant", "warmup_epochs": 0, "milestones": (), "gamma": 0.1}
    return RecipeSpec.model_validate(plain | changes)


def test_constant() -> None:
    assert [learning_rate(recipe(), step, 5) for step in (0, 7, 49)] == [0.1, 0.1, 0.1]


def test_step_falls_when_the_milestone_has_passed() -> None:
    falling = recipe(schedule="step", milestones=(3, 6))
    rates = [learning_rate(falling, step, 5) for step in (0, 14, 15, 29, 30, 49)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_cosine_falls_to_zero() -> None:
    falling = recipe(schedule="cosine")
    assert learning_rate(falling, 0, 4) == pytest.approx(0.1)
    assert learning_rate(falling, 10, 4) == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(falling, 20, 4) == pytest.approx(0.05)
    assert learning_rate(falling, 39, 4) == pytest.approx(0.05 * (1 + math.cos(math.pi * 39 / 40)))


def test_warm_up_rises_linearly_then_the_cosine_starts_at_its_top() -> None:
    warm = recipe(schedule="cosine", warmup_epochs=1)
    assert [learning_rate(warm, step, 4) for step in range(5)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    rates = [learning_rate(warm, step, 4) for step in range(4, 40)]
    assert rates == sorted(rates, reverse=True)


def test_warm_up_may_end_inside_an_epoch() -> None:
    warm = recipe(warmup_epochs=0.5)
    assert [learning_rate(warm, step, 5) for step in range(4)] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1])


def test_optimizers() -> None:
    net = TinyNet()
    groups = [{"params": list(net.parameters())}]
    sgd = build_optimizer(recipe(optimizer="sgd", nesterov=True, momentum=0.0, weight_decay=0.1), groups, fused=False)
    assert isinstance(sgd, torch.optim.SGD) and not sgd.param_groups[0]["nesterov"]
    adamw = build_optimizer(recipe(optimizer="adamw", weight_decay=0.1), groups, fused=False)
    assert isinstance(adamw, torch.optim.AdamW) and adamw.param_groups[0]["weight_decay"] == 0.1


def test_ema_by_hand_buffers_copied() -> None:
    net = TinyNet()
    assert make_ema(net, 0.0) is None
    ema = make_ema(net, 0.75)
    assert ema is not None
    weight = net.classifier.weight
    with torch.no_grad():
        weight.fill_(1.0)
        ema.update_parameters(net)
        weight.fill_(2.0)
        net.body["layers"][0][1].running_mean.fill_(7.0)
        ema.update_parameters(net)
    # The first update copies, the second moves a quarter of the way.
    assert torch.allclose(ema.module.classifier.weight, torch.full_like(weight, 1.25))
    assert ema.module.body["layers"][0][1].running_mean.eq(7).all()
