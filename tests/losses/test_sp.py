"""Similarities of the samples of a batch: values by hand, a naive loop, what does not count, extremes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdengine.losses import similarities, similarity_preserving


def maps(batch: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, 4, 4, generator=generator), torch.randn(batch, 6, 2, 2, generator=generator)


def test_similarities_by_hand() -> None:
    # Inner products of (1, 0), (1, 1), (0, 2): rows (1, 1, 0), (1, 2, 2), (0, 2, 4).
    wanted = [[1, 1, 0], [1, 2, 2], [0, 2, 4]]
    wanted = [[value / math.hypot(*row) for value in row] for row in wanted]
    found = similarities(torch.tensor([[1.0, 0], [1, 1], [0, 2]]))
    assert found.tolist() == pytest.approx(torch.tensor(wanted), abs=1e-6)


def test_against_naive_loops() -> None:
    def by_hand(features: Tensor) -> list[list[float]]:
        rows = features.flatten(1).tolist()
        products = [[sum(a * b for a, b in zip(one, two, strict=True)) for two in rows] for one in rows]
        return [[value / math.hypot(*row) for value in row] for row in products]

    student, teacher = maps()
    own, guide = by_hand(student), by_hand(teacher)
    gaps = [(a - b) ** 2 for one, two in zip(own, guide, strict=True) for a, b in zip(one, two, strict=True)]
    assert similarity_preserving(student, teacher).item() == pytest.approx(sum(gaps) / 25, rel=1e-5)


def test_scale_and_rotation_do_not_count() -> None:
    student, teacher = maps()
    value = similarity_preserving(student, teacher).item()
    assert value > 1e-3 and similarity_preserving(student, 7 * student).item() == pytest.approx(0, abs=1e-10)
    assert similarity_preserving(student * 1e-6, teacher * 1e5).item() == pytest.approx(value, rel=1e-4)
    assert similarity_preserving(student.flip(1, 2), teacher).item() == pytest.approx(value, rel=1e-4)


def test_a_batch_repeated_r_times_gives_an_rth_of_it() -> None:
    student, teacher = maps()
    repeated = similarity_preserving(student.repeat(3, 1, 1, 1), teacher.repeat(3, 1, 1, 1)).item()
    assert 3 * repeated == pytest.approx(similarity_preserving(student, teacher).item(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("batch", [1, 4])
def test_finite_whatever_comes(dtype: torch.dtype, scale: float, batch: int) -> None:
    student, teacher = maps(batch)
    student = (student * scale).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = similarity_preserving(student.to(dtype), teacher.to(dtype))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert student.grad is not None and torch.isfinite(student.grad).all()


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_it_can_be_differentiated_twice(scale: float) -> None:
    student, teacher = maps()
    student = (student * scale).requires_grad_()
    (first,) = torch.autograd.grad(similarity_preserving(student, teacher), student, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), student)
    assert torch.isfinite(second).all() and bool(second.abs().sum() > 0) == bool(scale)
