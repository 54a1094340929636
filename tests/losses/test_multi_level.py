"""Answers at three levels: naive loops, masks, and what the docs promise of batch and size."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdengine.losses import batch_level, class_alignment, class_level, instance_level, kd, least_sure

LEVELS = (instance_level, batch_level, class_level)


def logits(batch: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, batch, classes, generator=torch.Generator().manual_seed(0)) * 3
    return student, teacher


def softmax(rows: Tensor, temperature: float) -> list[list[float]]:
    powers = [[math.exp(value / temperature) for value in row] for row in rows.tolist()]
    return [[power / sum(row) for power in row] for row in powers]


def test_against_naive_loops() -> None:
    student, teacher = logits()
    samples, classes = torch.tensor([1.0, 0, 0, 1, 1, 0]), torch.tensor([0.0, 1, 1, 0])
    instance = batch = classwise = 0.0
    for temperature in (2.0, 5.0):
        own, guide = softmax(student, temperature), softmax(teacher, temperature)
        for i in range(6):
            if samples[i]:
                kl = sum(q * math.log(q / p) for p, q in zip(own[i], guide[i], strict=True))
                instance += temperature**2 * kl / 6 / 2
                for j in range(6):
                    gap = sum(own[i][c] * own[j][c] - guide[i][c] * guide[j][c] for c in range(4))
                    batch += 4 * gap**2 / 36 / 2
        for a in range(4):
            for b in range(4):
                if classes[b]:
                    gap = sum(own[i][a] * own[i][b] - guide[i][a] * guide[i][b] for i in range(6)) / 6
                    classwise += 4 * gap**2 / 2
    ladder = [2.0, 5.0]
    assert instance_level(student, teacher, ladder, samples).item() == pytest.approx(instance, rel=1e-4)
    assert batch_level(student, teacher, ladder, samples).item() == pytest.approx(batch, rel=1e-4)
    assert class_level(student, teacher, ladder, classes).item() == pytest.approx(classwise, rel=1e-4)


def test_one_temperature_and_no_mask_are_the_known_losses() -> None:
    student, teacher = logits()
    assert instance_level(student, teacher, [3.0]).item() == pytest.approx(kd(student, teacher, 3.0).item(), rel=1e-5)
    gram = 16 * class_alignment(student, teacher, 3.0, "gram").item()
    assert class_level(student, teacher, [3.0]).item() == pytest.approx(gram, rel=1e-5)


def test_the_least_sure_are_those_up_to_the_quantile() -> None:
    scores = torch.tensor([0.9, 0.2, 0.5, 0.4, 0.7])
    assert least_sure(scores, 0.5).tolist() == [0, 1, 1, 1, 0]
    assert least_sure(scores, 0.0).tolist() == [0, 1, 0, 0, 0] and least_sure(scores, 1.0).sum() == 5


def test_the_number_of_classes_does_not_change_the_size() -> None:
    # A sure teacher with one sample a class, a student that knows nothing: the levels are about 1 for any C.
    for classes in (5, 50):
        guide, own = 100 * torch.eye(classes), torch.zeros(classes, classes)
        assert batch_level(own, guide, [1.0]).item() == pytest.approx(1 - 1 / classes, rel=1e-3)
        assert class_level(own, guide, [1.0]).item() == pytest.approx(1 - 1 / classes, rel=1e-3)


@pytest.mark.parametrize("level", LEVELS)
def test_unchanged_when_the_batch_is_repeated(level: Callable[..., Tensor]) -> None:
    student, teacher = logits()
    value = level(student, teacher, [1.0, 4.0]).item()
    assert value > 0 and level(student, student, [1.0, 4.0]).item() == pytest.approx(0, abs=1e-9)
    assert level(student.repeat(3, 1), teacher.repeat(3, 1), [1.0, 4.0]).item() == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("classes", [2, 5])
def test_extreme_logits_stay_finite(level: Callable[..., Tensor], classes: int) -> None:
    student, teacher = (values.sign() * 1e4 for values in logits(3, classes))
    student = student.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = level(student, teacher, [0.5, 4.0])
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert student.grad is not None and torch.isfinite(student.grad).all()
