"""Hierarchical context: values by hand, levels that fit, extremes."""

from __future__ import annotations

import pytest
import torch

from kdengine.losses import hierarchical_context


def test_by_hand_on_a_map_of_two_by_two() -> None:
    # Gaps 1, 1, 1, -1: as it is 1; their mean 1/2, squared 1/4, weighted 1/2 (4x4 and 2x2 are not smaller).
    student = torch.tensor([[[[1.0, 1], [1, -1]]]])
    wanted = (1 + 0.5 * 0.25) / 1.5
    assert hierarchical_context(student, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(wanted)


def test_against_naive_loops() -> None:
    student, teacher = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    value, weights = 0.0, 0.0
    for number, level in enumerate((8, 4, 2, 1)):
        size = 8 // level
        squares = []
        for top in range(0, 8, size):
            for left in range(0, 8, size):
                window = (slice(None), slice(None), slice(top, top + size), slice(left, left + size))
                squares.append((student[window] - teacher[window]).mean((2, 3)).square())
        value += torch.stack(squares).mean().item() / 2**number
        weights += 1 / 2**number
    assert hierarchical_context(student, teacher).item() == pytest.approx(value / weights, rel=1e-5)


def test_vectors_have_one_level() -> None:
    student, teacher = torch.randn(2, 5, 6, 1, 1)
    assert hierarchical_context(student, teacher).item() == pytest.approx((student - teacher).square().mean().item())


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 14])
def test_any_side_works_and_a_repeated_batch_changes_nothing(side: int) -> None:
    student, teacher = torch.randn(2, 2, 3, side, side, generator=torch.Generator().manual_seed(1))
    value = hierarchical_context(student, teacher).item()
    again = hierarchical_context(student.repeat(3, 1, 1, 1), teacher.repeat(3, 1, 1, 1)).item()
    assert value > 0 and again == pytest.approx(value, rel=1e-5)
    assert hierarchical_context(student.bfloat16(), teacher).dtype == torch.float32
