"""Accuracy, loss and calibration by hand values."""

from __future__ import annotations

import math

import pytest
import torch
from support import TinyNet, random_loader

from kdengine.evaluation import cost
from kdengine.evaluation.accuracy import evaluate, expected_calibration_error, score


def certain(confidence: float, classes: int = 3) -> list[float]:
    """Logits that give class 0 that probability, the others equal shares."""
    return [math.log(confidence), *[math.log((1 - confidence) / (classes - 1))] * (classes - 1)]


def test_scores_by_hand() -> None:
    # Three of four are right; class 2 has no images; the wrong one is class 1 taken for 0.
    logits = torch.tensor([[2.0, 0, 0], [2.0, 0, 0], [0, 2.0, 0], [2.0, 0, 0]])
    result = score(logits, torch.tensor([0, 0, 1, 1]))
    assert (result.count, result.accuracy, result.top5) == (4, 0.75, 1.0)
    assert result.per_class == (1.0, 0.5, 0.0)
    sure = math.log(math.e**2 + 2) - 2
    assert result.loss == pytest.approx((3 * sure + sure + 2) / 4)
    assert set(result.summary()) == {"accuracy", "top5", "loss", "ece"}


def test_top5_counts_the_five_highest() -> None:
    logits = torch.arange(8.0).repeat(8, 1)
    assert score(logits, torch.arange(8)).top5 == pytest.approx(5 / 8)


def test_calibration_error_by_hand() -> None:
    # Bin of 0.9: four images, three right: gap |3 - 3.6| = 0.6. Bin of 0.6: two, both right: |2 - 1.2| = 0.8.
    logits = torch.tensor([certain(0.9)] * 4 + [certain(0.6)] * 2)
    target = torch.tensor([0, 0, 0, 1, 0, 0])
    assert expected_calibration_error(logits, target) == pytest.approx((0.6 + 0.8) / 6, abs=1e-5)


def test_calibration_error_of_the_sure_and_right_is_zero() -> None:
    logits = torch.eye(4) * 1e4
    assert expected_calibration_error(logits, torch.arange(4)) == 0
    assert expected_calibration_error(logits, (torch.arange(4) + 1) % 4) == 1


def test_logits_that_are_no_numbers_do_not_crash() -> None:
    assert math.isnan(score(torch.full((3, 2), float("nan")), torch.tensor([0, 1, 0])).loss)


def test_the_size_of_batches_does_not_matter() -> None:
    net = TinyNet(4).eval()
    plain = {"augmentation": None, "shuffle": False, "drop_last": False}
    results = [
        evaluate(lambda x: net(x).logits, random_loader(22, batch_size, **plain).epoch(0)) for batch_size in (4, 22)
    ]
    assert results[0].count == results[1].count == 22
    assert results[0].summary() == pytest.approx(results[1].summary())


def test_cost_by_hand() -> None:
    net = TinyNet(classes=5, image_size=16, channels=(6, 8, 10))
    found = cost.count(net)
    weights = 3 * 6 * 9 + 6 * 8 * 9 + 8 * 10 * 9 + 2 * (6 + 8 + 10) + 10 * 5 + 5
    assert found.parameters == cost.count_parameters(net) == weights
    # Running mean and variance, and a 64-bit counter for each normalisation.
    assert found.bytes == 4 * weights + 4 * 2 * (6 + 8 + 10) + 3 * 8
    assert found.macs == 3 * 6 * 9 * 256 + 6 * 8 * 9 * 64 + 8 * 10 * 9 * 16 + 10 * 5


def test_latency_is_a_positive_median_of_seconds() -> None:
    assert 0 < cost.latency(TinyNet(), batch_size=2, repeats=3) < 5


def test_of_equal_logits_the_first_class_is_the_prediction() -> None:
    """As argmax has it: 8-bit networks give many equal logits, and topk may order those otherwise."""
    logits = torch.randint(0, 3, (500, 40), generator=torch.Generator().manual_seed(0)).float()
    target = logits.argmax(dim=1)
    assert score(logits, target).accuracy == 1.0 and score(logits, target).top5 == 1.0
    assert score(logits, (target + 1) % 40).accuracy == 0.0
