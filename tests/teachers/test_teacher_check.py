"""Class orders and chance: by hand, and on answers that know nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from abroad import Abroad

from kdengine.cli import main
from kdengine.data import DatasetBundle
from kdengine.teachers import check, class_order, records
from kdengine.teachers.sample import sample
from kdengine.workspace import Workspace


def test_the_order_found_is_the_best_of_all() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(60, 4), torch.arange(60) % 4
    found = class_order.order_by_accuracy(logits, labels)
    best = max(class_order.accuracy(logits, labels, order) for order in permutations(range(4)))
    assert class_order.accuracy(logits, labels, found) == best


def test_rows_that_tell_nothing_stay_where_they_are() -> None:
    # Classes 0 and 1 are answered by each other's rows; nothing was ever answered with rows 2 and 3.
    logits = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0]])
    assert class_order.order_by_accuracy(logits, torch.tensor([0, 1])) == (1, 0, 2, 3)


def test_order_means_the_same_everywhere() -> None:
    """Row ``order[c]`` answers for class c: in the accuracy, and in the classifier that is put right."""
    net = torch.nn.Linear(3, 3)
    wrapped: Any = type("Net", (), {"classifier": net})()
    x = torch.randn(50, 3)
    with torch.no_grad():
        before = net(x)
        check.weights.reorder(wrapped, (2, 0, 1))
        torch.testing.assert_close(net(x), before[:, [2, 0, 1]])
        labels = net(x).argmax(dim=1)
    assert class_order.accuracy(before, labels, (2, 0, 1)) == 1.0
    assert class_order.order_by_accuracy(before, labels) == (2, 0, 1)


def test_an_order_found_in_noise_is_not_believed() -> None:
    """Judged on the images it was found on, the best order of a net that knows nothing beats chance every time."""
    believed = flattered = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        logits, labels = torch.randn(200, 10, generator=generator), torch.arange(200) % 10
        trial = check._trial("own", check.PLAIN[0], check.PLAIN[1], logits, labels, None)
        believed += class_order.clearly_better(trial.found, trial.as_is, 200) or trial.found > 0.2
        flattered += class_order.accuracy(logits, labels, trial.order) > 0.15
    assert believed <= 1 and flattered >= 35


@pytest.mark.parametrize(
    ("one", "other", "count", "expected"),
    # The standard error of 0.9 - 0.8 over 100 images is 0.05: two of them; over 1,000 it is 0.0158: six.
    [(0.9, 0.8, 100, False), (0.9, 0.8, 1000, True), (0.8, 0.9, 1000, False), (1.0, 1.0, 10, False)],
)
def test_clearly_better(one: float, other: float, count: int, expected: bool) -> None:
    assert class_order.clearly_better(one, other, count) is expected


def test_chance_level_by_hand() -> None:
    # Ten classes, 1,000 images: 0.1 + 3 x sqrt(0.1 x 0.9 / 1000) = 0.128; as much again as guessing is more: 0.2.
    assert class_order.chance_level(torch.arange(1000) % 10, 10) == pytest.approx(0.2)
    # 25 images: 0.12 of one class; 0.12 + 3 x sqrt(0.12 x 0.88 / 25) = 0.315.
    assert class_order.chance_level(torch.arange(25) % 10, 10) == pytest.approx(0.12 + 3 * (0.12 * 0.88 / 25) ** 0.5)
    # Two classes, 900 images: ten points above guessing, 0.6, against 0.5 + 3 / 60 = 0.55.
    assert class_order.chance_level(torch.arange(900) % 2, 2) == pytest.approx(0.6)
    # Where three quarters are of one class, guessing it is right for three quarters.
    assert class_order.chance_level(torch.tensor([0, 0, 0, 1] * 25), 2) > 0.75


def test_pictures_are_of_validation_first_classes_in_turn_and_never_of_test(digits: DatasetBundle) -> None:
    blind: Any = replace(digits, test=None)  # whoever looks at it fails
    images, labels = sample(blind, 200)
    assert images.shape == (200, 16, 16, 3) and len(labels) == 200
    assert torch.equal(labels[:140], torch.tensor(digits.validation.labels)[_rows(digits, images[:140])])
    few, of_few = sample(blind, 20)
    assert torch.bincount(of_few, minlength=10).tolist() == [2] * 10 and len(few) == 20
    again, _ = sample(blind, 20)
    assert np.array_equal(few, again)


def _rows(digits: DatasetBundle, images: np.ndarray) -> list[int]:
    """Where the images are in the validation part."""
    known = {image.tobytes(): row for row, image in enumerate(digits.validation.take(range(len(digits.validation))))}
    return [known[image.tobytes()] for image in images]


def test_two_classes_swapped_are_found_though_the_rest_is_right(
    workspace: Workspace, abroad: Abroad, digits: DatasetBundle, tmp_path: Any
) -> None:
    main(abroad.words("swapped", abroad.permuted(tmp_path, [0, 1, 2, 8, 4, 5, 6, 7, 3, 9])))
    found = check.check(records.find(workspace, "swapped"), replace(digits, test=None))  # type: ignore[arg-type]
    assert found.order == (0, 1, 2, 8, 4, 5, 6, 7, 3, 9)
    assert found.chosen.found > found.chosen.as_is + 0.1 > found.chance + 0.1


def test_order_by_names() -> None:
    def card(*classes: str) -> Any:
        return type("Card", (), {"classes": classes})()

    assert class_order.order_by_names(card("b", "c", "a"), ("a", "b", "c")) == (2, 0, 1)
    assert class_order.order_by_names(card("a", "b", "d"), ("a", "b", "c")) is None
    assert class_order.order_by_names(card("a", "a", "b"), ("a", "b", "c")) is None  # ImageNet has two cranes
