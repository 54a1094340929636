"""Soft targets, decoupled soft targets, attention maps: values by hand, a naive loop, and what the docs promise."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdengine.losses import attention_map, attention_transfer, dkd, kd

Divergence = Callable[[Tensor, Tensor, Tensor], Tensor]

DIVERGENCES: dict[str, Divergence] = {
    "kd": lambda student, teacher, target: kd(student, teacher, 4.0),
    "dkd target": lambda student, teacher, target: dkd(student, teacher, target, 4.0, 1.0, 1.0)[0],
    "dkd non-target": lambda student, teacher, target: dkd(student, teacher, target, 4.0, 1.0, 1.0)[1],
}


@pytest.fixture(params=DIVERGENCES)
def divergence(request: pytest.FixtureRequest) -> Divergence:
    return DIVERGENCES[request.param]


def logits(seed: int = 0, batch: int = 6, classes: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, batch, classes, generator=generator) * 3
    return student, teacher, torch.randint(classes, (batch,), generator=generator)


def softmax_by_hand(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def kl_by_hand(teacher: list[float], student: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def test_kd_by_hand() -> None:
    # Teacher 1/2, 1/2, student 3/4, 1/4: KL = 0.5 ln(2/3) + 0.5 ln 2 = 0.143841; at T = 2 the logits are doubled.
    student = torch.tensor([[math.log(3.0), 0.0]])
    teacher = torch.tensor([[0.0, 0.0]])
    assert kd(student, teacher, 1.0).item() == pytest.approx(0.143841, abs=1e-6)
    assert kd(2 * student, teacher, 2.0).item() == pytest.approx(4 * 0.143841, abs=1e-5)


def test_kd_is_a_mean_over_the_batch_and_a_sum_over_classes() -> None:
    student, teacher, _ = logits()
    rows = [
        kl_by_hand(softmax_by_hand(t.tolist(), 3.0), softmax_by_hand(s.tolist(), 3.0))
        for s, t in zip(student, teacher, strict=True)
    ]
    assert kd(student, teacher, 3.0).item() == pytest.approx(9 * sum(rows) / len(rows), rel=1e-5)


def test_dkd_by_hand() -> None:
    # Target 0. Teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4).
    teacher = torch.tensor([[math.log(2.0), 0.0, 0.0]])
    student = torch.tensor([[0.0, math.log(2.0), 0.0]])
    target_term, non_target_term = dkd(student, teacher, torch.tensor([0]), 1.0, 1.0, 1.0)
    # Target against rest: (1/2, 1/2) and (1/4, 3/4); among the rest: (1/2, 1/2) and (2/3, 1/3).
    assert target_term.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert non_target_term.item() == pytest.approx(0.5 * math.log(3 / 4) + 0.5 * math.log(3 / 2), abs=1e-6)


def test_dkd_against_a_naive_loop() -> None:
    student, teacher, target = logits()
    wanted_target = wanted_rest = 0.0
    for s, t, c in zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True):
        p, q = softmax_by_hand(t, 4.0), softmax_by_hand(s, 4.0)
        wanted_target += kl_by_hand([p[c], 1 - p[c]], [q[c], 1 - q[c]])
        rest_p = [value / (1 - p[c]) for index, value in enumerate(p) if index != c]
        rest_q = [value / (1 - q[c]) for index, value in enumerate(q) if index != c]
        wanted_rest += kl_by_hand(rest_p, rest_q)
    target_term, non_target_term = dkd(student, teacher, target, 4.0, alpha=2.0, beta=3.0)
    assert target_term.item() == pytest.approx(2 * 16 * wanted_target / len(target), rel=1e-4)
    assert non_target_term.item() == pytest.approx(3 * 16 * wanted_rest / len(target), rel=1e-4)


def test_kd_is_target_part_plus_non_target_part_weighted_by_what_is_left() -> None:
    student, teacher, target = logits(batch=20)
    for row in range(20):
        s, t, c = student[row : row + 1], teacher[row : row + 1], target[row : row + 1]
        target_part, rest_part = dkd(s, t, c, 2.0, 1.0, 1.0)
        confidence = (t / 2).softmax(1)[0, c.item()]
        assert kd(s, t, 2.0).item() == pytest.approx((target_part + (1 - confidence) * rest_part).item(), rel=1e-4)


def test_zero_when_equal(divergence: Divergence) -> None:
    student, _, target = logits()
    assert divergence(student, student.clone(), target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_never_negative(divergence: Divergence, seed: int) -> None:
    assert divergence(*logits(seed)).item() >= 0


def test_unchanged_when_the_batch_is_repeated_or_reordered(divergence: Divergence) -> None:
    student, teacher, target = logits()
    value = divergence(student, teacher, target).item()
    repeated = divergence(student.repeat(3, 1), teacher.repeat(3, 1), target.repeat(3)).item()
    assert repeated == pytest.approx(value, rel=1e-5)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert divergence(student[order], teacher[order], target[order]).item() == pytest.approx(value, rel=1e-5)
    classes = torch.tensor([2, 0, 1, 6, 5, 4, 3])
    renamed = torch.argsort(classes)[target]
    assert divergence(student[:, classes], teacher[:, classes], renamed).item() == pytest.approx(value, rel=1e-5)


def test_gradient_pulls_the_student_towards_the_teacher(divergence: Divergence) -> None:
    student, teacher, target = logits()
    student.requires_grad_()
    before = divergence(student, teacher, target)
    before.backward()
    assert student.grad is not None and student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert divergence(student.detach() - 0.1 * student.grad, teacher, target) < before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_finite_at_saturated_logits(divergence: Divergence, dtype: torch.dtype, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 8, classes, generator=generator).sign() * 1e4).to(dtype)
    student = student.clone().requires_grad_()
    value = divergence(student, teacher, torch.arange(8) % classes)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert student.grad is not None and torch.isfinite(student.grad).all()


def test_saturated_and_disagreeing_costs_what_log_space_says() -> None:
    # The teacher is sure of class 0, the student of class 1, by 1e4: KL = 1e4 (x T squared, T = 1).
    student, teacher = torch.tensor([[0.0, 1e4]]), torch.tensor([[1e4, 0.0]])
    assert kd(student, teacher, 1.0).item() == pytest.approx(1e4)
    assert dkd(student, teacher, torch.tensor([0]), 1.0, 1.0, 1.0)[0].item() == pytest.approx(1e4)


def test_two_classes_have_nothing_to_rank() -> None:
    student, teacher, target = logits(classes=2)
    target_term, non_target_term = dkd(student, teacher, target, 4.0, 1.0, 8.0)
    assert non_target_term.item() == 0
    assert target_term.item() == pytest.approx(kd(student, teacher, 4.0).item(), rel=1e-5)


# attention ---------------------------------------------------------------------------------------------------------


def test_attention_map_by_hand() -> None:
    # Two channels, four positions: mean of squares 25/2, 0, 0, 0 + 0, 0, 0, 16/2 -> (12.5, 0, 0, 8), length 14.8408.
    feature = torch.zeros(1, 2, 2, 2)
    feature[0, 0, 0, 0] = 5
    feature[0, 1, 1, 1] = -4
    wanted = torch.tensor([[12.5 / 14.8408, 0, 0, 8 / 14.8408]])
    assert torch.allclose(attention_map(feature), wanted, atol=1e-5)


def test_attention_transfer_by_hand_and_by_a_naive_loop() -> None:
    corner, opposite = torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2)
    corner[0, 0, 0, 0] = 3
    opposite[0, :, 1, 1] = 7
    # Unit maps (1, 0, 0, 0) and (0, 0, 0, 1): squared difference 2 over four positions.
    assert attention_transfer(corner, opposite).item() == pytest.approx(0.5)
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(3, 4, 5, 5, generator=generator), torch.randn(3, 6, 5, 5, generator=generator)
    wanted = 0.0
    for row in range(3):
        maps = []
        for feature in (student[row], teacher[row]):
            strength = [[sum(v * v for v in feature[:, y, x].tolist()) for x in range(5)] for y in range(5)]
            length = math.sqrt(sum(value * value for line in strength for value in line))
            maps.append([value / length for line in strength for value in line])
        wanted += sum((a - b) ** 2 for a, b in zip(*maps, strict=True)) / 25
    assert attention_transfer(student, teacher).item() == pytest.approx(wanted / 3, rel=1e-5)


def test_attention_promises() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 3, 6, 6, generator=generator, requires_grad=True)
    teacher = torch.randn(4, 5, 3, 3, generator=generator)
    value = attention_transfer(student, teacher)
    value.backward()
    assert value > 0 and student.grad is not None and student.grad.abs().sum() > 0
    assert attention_transfer(student, student).item() == 0
    assert attention_transfer(student * 100, teacher).item() == pytest.approx(value.item(), rel=1e-4), (
        "scale does not count"
    )
    repeated = attention_transfer(student.repeat(2, 1, 1, 1), teacher.repeat(2, 1, 1, 1))
    assert repeated.item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_attention_is_finite_for_dead_and_huge_maps(dtype: torch.dtype, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    student = (torch.rand(2, 3, 4, 4, generator=generator) * scale).to(dtype).requires_grad_()
    value = attention_transfer(student, torch.rand(2, 3, 4, 4, generator=generator).to(dtype))
    value.backward()
    assert torch.isfinite(value)
    assert student.grad is not None and torch.isfinite(student.grad).all()
