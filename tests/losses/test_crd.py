"""Noise-contrastive estimation: the official formula by naive loops, and extremes."""

from __future__ import annotations

import math

import pytest
import torch

from kdengine.losses import log_densities, log_normaliser, noise_contrastive


def test_against_the_official_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    anchor, positive = torch.nn.functional.normalize(torch.randn(2, 3, 4, generator=generator), dim=2)
    drawn = torch.nn.functional.normalize(torch.randn(5, 4, generator=generator), dim=1)
    taken = torch.tensor([[True] * 5, [True, False, True, False, True], [False] * 5])
    samples, temperature = 50, 0.5
    own, others = log_densities(anchor, positive, drawn, temperature)

    def power(one: torch.Tensor, two: torch.Tensor) -> float:
        return math.exp(sum(a * b for a, b in zip(one.tolist(), two.tolist(), strict=True)) / temperature)

    powers = [[power(a, p), *(power(a, d) for d in drawn)] for a, p in zip(anchor, positive, strict=True)]
    z = sum(map(sum, powers)) / 18 * samples
    assert log_normaliser(own, others, samples).item() == pytest.approx(math.log(z), rel=1e-5)
    noise, loss = 5 / samples, 0.0
    for row, allowed in zip(powers, taken.tolist(), strict=True):
        true, *rest = (value / z for value in row)
        loss -= math.log(true / (true + noise))
        counted = [value for value, use in zip(rest, allowed, strict=True) if use]
        if counted:
            loss -= 5 / len(counted) * sum(math.log(noise / (value + noise)) for value in counted)
    found = noise_contrastive(own - math.log(z), others - math.log(z), taken, samples)
    assert found.item() == pytest.approx(loss / 3, rel=1e-4)


def test_a_nearer_true_pair_and_farther_others_cost_less() -> None:
    taken = torch.ones(1, 4, dtype=torch.bool)
    near = noise_contrastive(torch.tensor([2.0]), torch.full((1, 4), -2.0), taken, 10)
    far = noise_contrastive(torch.tensor([-2.0]), torch.full((1, 4), 2.0), taken, 10)
    assert 0 < near < far


@pytest.mark.parametrize("size", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_scores_stay_finite(size: float, dtype: torch.dtype) -> None:
    positive = torch.tensor([-size, size], dtype=dtype, requires_grad=True)
    negative = torch.tensor([[size, size], [-size, size]], dtype=dtype, requires_grad=True)
    value = noise_contrastive(positive, negative, torch.ones(2, 2, dtype=torch.bool), 100)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert torch.isfinite(positive.grad).all() and torch.isfinite(negative.grad).all()
