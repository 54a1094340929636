"""The hand-made teacher, and divergences of some samples: values by hand, limits, what the docs promise."""

from __future__ import annotations

import math

import pytest
import torch

from kdengine.losses import divergences, kd, kd_of_some, virtual_teacher, virtual_teaching


def logits(batch: int = 6, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    student, teacher = torch.randn(2, batch, classes, generator=torch.Generator().manual_seed(0)) * 3
    return student, teacher


def test_virtual_teacher_by_hand() -> None:
    # Probabilities 0.9, 0.05, 0.05 at T = 2: softmax of 0.45, 0.025, 0.025.
    powers = [math.exp(0.025), math.exp(0.45), math.exp(0.025)]
    wanted = [power / sum(powers) for power in powers]
    found = virtual_teacher(torch.tensor([1]), 3, 0.9, 2.0).exp()[0]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


def test_virtual_teaching_by_hand() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    guide = 1 / (1 + math.exp((0.01 - 0.99) / 20))
    own = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-3))]
    wanted = sum(guide * math.log(guide / p) + (1 - guide) * math.log((1 - guide) / (1 - p)) for p in own) / 2
    assert virtual_teaching(student, torch.tensor([0, 1]), 0.99, 20.0).item() == pytest.approx(wanted, rel=1e-4)


def test_the_hand_made_teacher_has_nothing_to_teach_itself() -> None:
    target = torch.tensor([0, 3, 2])
    own = virtual_teacher(target, 4, 0.9, 5.0)
    assert virtual_teaching(own + 7, target, 0.9, 5.0).item() == pytest.approx(0, abs=1e-6)


def test_at_a_high_temperature_it_is_label_smoothing_without_the_label() -> None:
    student, _ = logits()
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    even = -(student.log_softmax(1).mean(1)).mean().item() - math.log(5)
    assert virtual_teaching(student, target, 0.99, 1e6).item() == pytest.approx(even, rel=1e-4)


def test_divergences_are_kd_before_the_mean() -> None:
    student, teacher = logits()
    each = divergences(student, teacher, 3.0)
    assert each.shape == (6,) and each.mean().item() == pytest.approx(kd(student, teacher, 3.0).item(), rel=1e-5)
    one = divergences(student[2:3], teacher[2:3], 3.0)
    assert each[2].item() == pytest.approx(one.item(), rel=1e-5)


def test_some_are_the_mean_over_those_alone() -> None:
    student, teacher = logits()
    taken = torch.tensor([True, False, True, False, False, True])
    wanted = kd(student[taken], teacher[taken], 2.0).item()
    assert kd_of_some(student, teacher, 2.0, taken).item() == pytest.approx(wanted, rel=1e-5)
    assert kd_of_some(student, teacher, 2.0, torch.zeros(6, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(dtype: torch.dtype) -> None:
    student, teacher = (values.sign() * 1e4 for values in logits())
    student = student.to(dtype).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    value = virtual_teaching(student, target, 0.99, 20.0) + divergences(student, teacher, 1.0).mean()
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert student.grad is not None and torch.isfinite(student.grad).all()
