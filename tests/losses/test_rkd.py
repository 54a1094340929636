"""Relational distillation: values by hand, naive loops, invariances, equal embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdengine.losses import rkd_angle, rkd_distance

Loss = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(params=["distance", "angle"])
def loss(request: pytest.FixtureRequest) -> Loss:
    return rkd_distance if request.param == "distance" else rkd_angle


def embeddings(batch: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 4, generator=generator), torch.randn(batch, 7, generator=generator)


def huber(gap: float) -> float:
    return 0.5 * gap**2 if abs(gap) < 1 else abs(gap) - 0.5


def test_distance_by_hand() -> None:
    # On a line: student 0, 1, 2: distances 1, 1, 2, mean 4/3; teacher 0, 1, 4: 1, 3, 4, mean 8/3.
    student, teacher = torch.tensor([[0.0], [1], [2]]), torch.tensor([[0.0], [1], [4]])
    gaps = [1 / (4 / 3) - 1 / (8 / 3), 1 / (4 / 3) - 3 / (8 / 3), 2 / (4 / 3) - 4 / (8 / 3)]
    assert rkd_distance(student, teacher).item() == pytest.approx(2 * sum(map(huber, gaps)) / 9, rel=1e-5)


def test_angle_by_hand() -> None:
    # Student: a right isosceles triangle, cosines 0, .7071, .7071; teacher: an equilateral one, .5 each.
    student = torch.tensor([[0.0, 0], [1, 0], [0, 1]])
    teacher = torch.tensor([[0.0, 0], [1, 0], [0.5, math.sqrt(3) / 2]])
    # Each corner appears twice (i, k and k, i); where i = k both cosines are 1.
    gaps = [0.5, math.sqrt(0.5) - 0.5, math.sqrt(0.5) - 0.5]
    assert rkd_angle(student, teacher).item() == pytest.approx(2 * sum(map(huber, gaps)) / 27, rel=1e-5)


def test_against_naive_loops() -> None:
    student, teacher = embeddings()
    batch = len(student)

    def relative(points: list[list[float]]) -> list[float]:
        every = [math.dist(a, b) for a in points for b in points]
        distinct = [value for value in every if value > 0]
        return [value * len(distinct) / sum(distinct) for value in every]

    def cosines(points: list[list[float]]) -> list[float]:
        found = []
        for j in points:
            for i in points:
                for k in points:
                    a, b = ([x - y for x, y in zip(p, j, strict=True)] for p in (i, k))
                    lengths = math.hypot(*a) * math.hypot(*b)
                    found.append(sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0)
        return found

    for loss, relation in ((rkd_distance, relative), (rkd_angle, cosines)):
        own, guide = relation(student.tolist()), relation(teacher.tolist())
        wanted = sum(huber(a - b) for a, b in zip(own, guide, strict=True)) / len(own)
        assert loss(student, teacher).item() == pytest.approx(wanted, rel=1e-4)
    assert len(own) == batch**3


def test_scale_rotation_shift_and_order_do_not_count(loss: Loss) -> None:
    student, teacher = embeddings()
    value = loss(student, teacher).item()
    assert value > 0.001
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]
    assert loss(5 * student @ turn + 3, teacher).item() == pytest.approx(value, rel=1e-3)
    assert loss(student, 0.01 * teacher - 2).item() == pytest.approx(value, rel=1e-3)
    assert loss(student, student @ turn * 2).item() == pytest.approx(0, abs=1e-6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert loss(student[order], teacher[order]).item() == pytest.approx(value, rel=1e-4)


def test_unchanged_when_the_batch_is_repeated(loss: Loss) -> None:
    student, teacher = embeddings()
    value = loss(student, teacher).item()
    assert loss(student.repeat(3, 1), teacher.repeat(3, 1)).item() == pytest.approx(value, rel=1e-4)


def test_gradient_against_finite_differences(loss: Loss) -> None:
    student, teacher = embeddings()
    student.requires_grad_()
    loss(student, teacher).backward()
    assert student.grad is not None and teacher.grad is None
    direction = torch.randn(student.shape, generator=torch.Generator().manual_seed(2))
    step = 1e-2
    with torch.no_grad():
        slope = (loss(student + step * direction, teacher) - loss(student - step * direction, teacher)) / (2 * step)
    assert slope.item() == pytest.approx((student.grad * direction).sum().item(), rel=0.02)


def test_it_can_be_differentiated_twice(loss: Loss) -> None:
    student, teacher = embeddings()
    student.requires_grad_()
    (first,) = torch.autograd.grad(loss(student, teacher), student, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), student)
    assert torch.isfinite(second).all() and second.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("which", ["equal rows", "one pair", "all zero", "huge"])
def test_finite_whatever_comes(loss: Loss, dtype: torch.dtype, batch: int, which: str) -> None:
    student, teacher = embeddings(batch)
    if which == "equal rows":
        student = student[:1].repeat(batch, 1)
    elif which == "one pair":
        student = torch.cat([student[:1], student[:-1]])
    student = student * {"all zero": 0.0, "huge": 1e3}.get(which, 1.0)
    student = student.to(dtype).clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher.to(dtype))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert student.grad is not None and torch.isfinite(student.grad).all()
    assert student.grad.abs().max() < 1e3, "equal embeddings must not blow up the gradient"
