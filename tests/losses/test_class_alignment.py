"""Class alignment and DIST: values by hand, a naive loop, invariances, and inputs that do not vary."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdengine.errors import BadInput
from kdengine.losses import class_alignment, class_correlation, dist, inter_class, intra_class

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "correlation": lambda student, teacher: class_alignment(student, teacher, 2.0, "correlation"),
    "pearson": lambda student, teacher: class_alignment(student, teacher, 2.0, "pearson"),
    "gram": lambda student, teacher: class_alignment(student, teacher, 2.0, "gram"),
    "inter": lambda student, teacher: inter_class(student, teacher, 2.0),
    "dist": lambda student, teacher: dist(student, teacher, 2.0, 1.0, 1.0),
}


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


def logits(seed: int = 0, batch: int = 8, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, batch, classes, generator=generator) * 3
    return student, teacher


def of(*rows: list[float]) -> Tensor:
    """Logits whose softmax are these rows of probabilities."""
    return torch.tensor(rows).log()


def pearson(first: list[float], second: list[float]) -> float:
    a, b = ([value - sum(values) / len(values) for value in values] for values in (first, second))
    lengths = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths


def columns(values: Tensor) -> list[list[float]]:
    return values.T.tolist()


# by hand -----------------------------------------------------------------------------------------------------------

# Classes 0 and 1 rise and fall together against class 2 in the teacher; in the student 0 and 2 do, against 1.
TEACHER = of([0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3])
STUDENT = of([0.1, 0.7, 0.2], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4])


def test_class_correlation_by_hand() -> None:
    wanted = torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]])
    assert torch.allclose(class_correlation(TEACHER, 1.0), wanted, atol=1e-5)


def test_correlation_by_hand() -> None:
    # R differs by 2 in the four entries (0, 1), (1, 0), (0, 2), (2, 0): 4 x 4 / 3.
    assert class_alignment(STUDENT, TEACHER, 1.0, "correlation").item() == pytest.approx(16 / 3, rel=1e-4)


def test_pearson_by_hand() -> None:
    # Column 0 is equal (r = 1), columns 1 and 2 run against each other (r = -1): 1 - (1 - 1 - 1) / 3 = 4 / 3.
    assert class_alignment(STUDENT, TEACHER, 1.0, "pearson").item() == pytest.approx(4 / 3, rel=1e-4)
    # At T = 2 the logits are doubled, and the value counts four times.
    assert class_alignment(2 * STUDENT, 2 * TEACHER, 2.0, "pearson").item() == pytest.approx(16 / 3, rel=1e-4)


def test_gram_by_hand() -> None:
    # P'P / 2: teacher [[.5, 0], [0, .5]]; student [[.25, .25], [.25, .25]]; four differences of .25, over two classes.
    sure, unsure = torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.zeros(2, 2)
    assert class_alignment(unsure, sure, 1.0, "gram").item() == pytest.approx(4 * 0.0625 / 2)


def test_dist_by_hand() -> None:
    # Rows: teacher (.1, .2, .7) against student (.1, .7, .2) and so on; columns as above.
    rows = [
        pearson(a, b) for a, b in zip([[0.1, 0.7, 0.2], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]],
                                      [[0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]], strict=True)
    ]  # fmt: skip
    wanted = 2 * (1 - sum(rows) / 3) + 3 * 4 / 3
    assert dist(STUDENT, TEACHER, 1.0, beta=2.0, gamma=3.0).item() == pytest.approx(wanted, rel=1e-4)


def test_against_naive_loops() -> None:
    student, teacher = logits()
    own, guide = (student / 3).softmax(1), (teacher / 3).softmax(1)
    batch, classes = own.shape
    intra = 1 - sum(pearson(a, b) for a, b in zip(columns(own), columns(guide), strict=True)) / classes
    inter = 1 - sum(pearson(a, b) for a, b in zip(own.tolist(), guide.tolist(), strict=True)) / batch
    correlation = gram = 0.0
    for i in range(classes):
        for j in range(classes):
            s, t = (columns(values) for values in (own, guide))
            correlation += (pearson(s[i], s[j]) - pearson(t[i], t[j])) ** 2 / classes
            products = [sum(x * y for x, y in zip(c[i], c[j], strict=True)) / batch for c in (s, t)]
            gram += (products[0] - products[1]) ** 2 / classes
    assert class_alignment(student, teacher, 3.0, "correlation").item() == pytest.approx(correlation, rel=1e-4)
    assert class_alignment(student, teacher, 3.0, "gram").item() == pytest.approx(gram, rel=1e-4)
    assert class_alignment(student, teacher, 3.0, "pearson").item() == pytest.approx(9 * intra, rel=1e-4)
    assert dist(student, teacher, 3.0, 1.0, 1.0).item() == pytest.approx(9 * (inter + intra), rel=1e-4)


# promises ----------------------------------------------------------------------------------------------------------


def test_zero_when_equal_and_never_negative(loss: Loss) -> None:
    for seed in range(10):
        student, teacher = logits(seed)
        assert loss(student, student.clone()).item() == 0
        assert loss(student, teacher).item() > 0


def test_unchanged_when_the_batch_is_repeated_or_reordered_or_classes_renamed(loss: Loss) -> None:
    student, teacher = logits()
    value = loss(student, teacher).item()
    assert loss(student.repeat(3, 1), teacher.repeat(3, 1)).item() == pytest.approx(value, rel=1e-4)
    rows, classes = torch.tensor([3, 7, 1, 5, 0, 2, 4, 6]), torch.tensor([4, 2, 0, 1, 3])
    assert loss(student[rows], teacher[rows]).item() == pytest.approx(value, rel=1e-4)
    assert loss(student[:, classes], teacher[:, classes]).item() == pytest.approx(value, rel=1e-4)


def test_a_relation_over_the_batch_is_no_mean_over_samples() -> None:
    student, teacher = logits()
    for kind in ("correlation", "pearson", "gram"):
        whole = class_alignment(student, teacher, 2.0, kind)
        halves = [class_alignment(student[part], teacher[part], 2.0, kind) for part in (slice(4), slice(4, 8))]
        assert (sum(halves) / 2).item() != pytest.approx(whole.item(), rel=0.01)


def test_pearson_does_not_see_shift_or_positive_scale_of_probabilities() -> None:
    from kdengine.losses.relations import pearson_distance

    own, guide = (values.softmax(1) for values in logits())
    value = pearson_distance(own, guide, 0).item()
    assert pearson_distance(0.3 * own, guide, 0).item() == pytest.approx(value, abs=1e-5)
    assert pearson_distance(own + 0.2, guide, 0).item() == pytest.approx(value, abs=1e-5)
    assert pearson_distance(0.5 * own + 0.2, own, 1).item() == pytest.approx(0, abs=1e-6)


def test_gradient_pulls_the_student_towards_the_teacher(loss: Loss) -> None:
    student, teacher = logits()
    student.requires_grad_()
    before = loss(student, teacher)
    before.backward()
    assert student.grad is not None and teacher.grad is None
    assert loss(student.detach() - 0.05 * student.grad / student.grad.norm(), teacher) < before


def test_correlation_is_of_a_size_that_a_weight_near_one_can_use() -> None:
    # The specification measured a gradient of about .04 at B = 64, C = 100, T = 4 (cross-entropy: .06); gram nothing.
    student, teacher = logits(batch=64, classes=100)
    norms = {}
    for kind in ("correlation", "gram"):
        student.grad = None
        class_alignment(student.requires_grad_(), teacher, 4.0, kind).backward()
        norms[kind] = student.grad.norm().item()  # type: ignore[attr-defined]
    assert 0.01 < norms["correlation"] < 0.3
    assert norms["gram"] < 0.01 * norms["correlation"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("batch", "classes"), [(1, 5), (2, 5), (8, 2), (8, 3), (8, 100)])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4])
def test_finite_whatever_comes(loss: Loss, dtype: torch.dtype, batch: int, classes: int, scale: float) -> None:
    student, teacher = (values.sign() * scale for values in logits(batch=batch, classes=classes))
    student = student.to(dtype).clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher.to(dtype))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and value >= 0
    assert student.grad is not None and torch.isfinite(student.grad).all()
    assert student.grad.abs().max() < 1e4, "rounding errors must not be blown up"


@pytest.mark.parametrize("kind", ["correlation", "pearson"])
def test_a_constant_column_says_nothing(kind: str) -> None:
    # Class 2 has the same probability in every row, give or take rounding, and the rest agree.
    student = of([0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.3, 0.45, 0.25])
    assert class_correlation(student, 1.0)[2].abs().max() < 0.05
    noisy = student + torch.tensor([[0.0, 0, 1e-7], [0, 0, -1e-7], [0, 0, 1e-7]])
    assert class_alignment(student.requires_grad_(), noisy, 1.0, kind).item() < 1e-3
    # A teacher without any spread gives nothing to align to: 1/2, and hardly a pull.
    value = class_alignment(student, torch.zeros(3, 3), 1.0, "pearson")
    value.backward()
    assert value.item() == pytest.approx(2 / 3 * 0.5, abs=1e-3)
    assert student.grad is not None and student.grad.abs().max() < 1e-2


def test_two_classes_always_correlate_alike() -> None:
    student, teacher = logits(classes=2)
    assert class_alignment(student, teacher, 1.0, "correlation").item() == pytest.approx(0, abs=1e-6)
    assert class_alignment(student, teacher, 1.0, "pearson").item() > 0.01
    assert class_alignment(student, teacher, 1.0, "gram").item() > 1e-4


def test_autocast_does_not_round_the_matrices() -> None:
    student, teacher = logits(batch=64, classes=20)
    exact = class_alignment(student, teacher, 2.0, "correlation").item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert class_alignment(student, teacher, 2.0, "correlation").item() == exact


def test_an_unknown_kind_is_refused_in_words() -> None:
    with pytest.raises(BadInput, match="found 'cosine', expected one of correlation, pearson, gram"):
        class_alignment(*logits(), 1.0, "cosine")  # type: ignore[arg-type]


def test_intra_is_the_pearson_kind() -> None:
    student, teacher = logits()
    assert intra_class(student, teacher, 3.0).item() == class_alignment(student, teacher, 3.0, "pearson").item()
