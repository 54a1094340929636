"""Standardized soft targets: by hand, scale and shift, samples whose logits are all equal."""

from __future__ import annotations

import pytest
import torch

from kdengine.losses import kd, kd_standardized, standardize


def test_by_hand() -> None:
    # Mean 2, deviations -1, 0, 1, unbiased variance 1.
    assert standardize(torch.tensor([[1.0, 2, 3]])).tolist()[0] == pytest.approx([-1, 0, 1], abs=1e-5)
    student, teacher = torch.tensor([[1.0, 2, 3]]), torch.tensor([[60.0, 40, 20]])
    wanted = kd(torch.tensor([[-1.0, 0, 1]]), torch.tensor([[1.0, 0, -1]]), 2.0)
    assert kd_standardized(student, teacher, 2.0).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_scale_and_shift_of_either_answer_do_not_count() -> None:
    student, teacher = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(0))
    value = kd_standardized(student, teacher, 2.0).item()
    assert value > 0.1
    assert kd_standardized(9 * student + 5, teacher, 2.0).item() == pytest.approx(value, rel=1e-4)
    assert kd_standardized(student, 0.5 * teacher - 3, 2.0).item() == pytest.approx(value, rel=1e-4)
    assert kd_standardized(student, 4 * student + 1, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert kd_standardized(student.repeat(3, 1), teacher.repeat(3, 1), 2.0).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [2, 3, 100])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e4])
def test_finite_whatever_comes(dtype: torch.dtype, classes: int, scale: float) -> None:
    student, teacher = torch.randn(2, 8, classes, generator=torch.Generator().manual_seed(0)).sign() * scale
    student = student.to(dtype).clone().requires_grad_()
    value = kd_standardized(student, teacher.to(dtype), 2.0)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and value > -1e-6
    assert student.grad is not None and student.grad.abs().max() < 1e4


def test_two_standardized_logits_have_no_gradient() -> None:
    student = torch.tensor([[0.3, -1.2], [2.0, 5.0]], requires_grad=True)
    kd_standardized(student, torch.tensor([[1.0, 0], [0, 1]]), 2.0).backward()
    assert student.grad is not None and student.grad.abs().max() < 1e-5
