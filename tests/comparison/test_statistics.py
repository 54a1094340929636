"""Statistics over seeds: values worked out by hand, and the interval's promise kept on simulated seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kdengine.comparison import paired_difference, spread


def test_spread_by_hand() -> None:
    assert spread([1.0, 2.0, 6.0]).mean == 3
    assert spread([1.0, 2.0, 6.0]).deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert spread([5.0]) == type(spread([5.0]))(1, 5.0, 0.0)
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_paired_difference_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1; t(0.975, 2) = 4.302653.
    difference = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (difference.n, difference.mean) == (3, 2)
    assert (difference.low, difference.high) == (pytest.approx(2 - half, abs=1e-5), pytest.approx(2 + half, abs=1e-5))
    assert difference.verdict == "not decided"


@pytest.mark.parametrize(
    ("ours", "verdict"), [([2.0, 2.1, 2.2], "helps"), ([-2.0, -2.1, -2.2], "hurts"), ([9.0], "not decided")]
)
def test_verdict(ours: list[float], verdict: str) -> None:
    assert paired_difference(ours, [0.0] * len(ours)).verdict == verdict


def test_what_is_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="found 2 and 1 values, expected pairs"):
        paired_difference([1.0, 2.0], [1.0])


def test_the_interval_holds_the_truth_as_often_as_it_says_with_few_seeds() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        shared = rng.normal(70, 3, 4)  # what a seed does to both arms
        difference = paired_difference(list(shared + 1 + rng.normal(0, 1, 4)), list(shared + rng.normal(0, 1, 4)))
        held += difference.low <= 1 <= difference.high
    assert 0.92 < held / 600 < 0.98
