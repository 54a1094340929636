"""Statistics over seeds: values worked out by hand, and the interval's promise kept on simulated seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kdengine.comparison import Difference, holm, paired_difference, seeds_to_decide, spread


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


def simulated(rng: np.random.Generator, n: int, effect: float) -> Difference:
    """A comparison of n seeds whose paired differences have that mean and a standard deviation of one."""
    return paired_difference(list(effect + rng.normal(0, 1, n)), [0.0] * n)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_without_a_difference_it_says_helps_no_more_often_than_it_promises(n: int) -> None:
    rng = np.random.default_rng(n)
    helps = sum(simulated(rng, n, 0.0).verdict == "helps" for _ in range(3000)) / 3000
    assert 0.025 / 2 < helps < 0.025 + 3 * math.sqrt(0.025 * 0.975 / 3000)


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_a_difference_is_found_at_the_number_of_seeds_named(effect: float) -> None:
    n = seeds_to_decide(effect, 1.0)
    assert n is not None
    rng = np.random.default_rng(7)
    found, fewer = (
        sum(simulated(rng, seeds, effect).verdict == "helps" for _ in range(2000)) / 2000 for seeds in (n, n - 1)
    )
    assert found >= 0.8 - 3 * math.sqrt(0.16 / 2000)
    assert fewer < 0.8 + 3 * math.sqrt(0.16 / 2000)


def test_seeds_to_decide_by_the_book() -> None:
    # Power tables of the paired t test at 5 %, 80 %: d = 1 needs 10 pairs, d = 0.5 needs 34.
    assert (seeds_to_decide(1.0, 1.0), seeds_to_decide(-0.5, 1.0), seeds_to_decide(3.0, 6.0)) == (10, 34, 34)
    assert seeds_to_decide(0.0, 1.0) is None and seeds_to_decide(0.01, 1.0) is None
    assert seeds_to_decide(0.4, 0.0) == 2


@pytest.mark.parametrize("effect", [0.7, 2.0, 6.9, 30.0])
def test_the_count_named_is_the_least_that_decides(effect: float) -> None:
    n = seeds_to_decide(effect, 1.0)
    assert n is not None
    rng = np.random.default_rng(0)
    shares = []
    for count in (n - 1, n):
        pairs = rng.normal(effect, 1.0, (20_000, count))
        if count > 1:
            rejected = stats.ttest_1samp(pairs, 0.0, axis=1).pvalue < 0.05
            shares.append(rejected.mean())
    assert shares[-1] > 0.79
    assert n == 2 or shares[0] < 0.81


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 against 0.05 / 4, / 3, / 2, / 1: the second fails, and with it all behind it.
    assert holm([0.02, 0.01, 0.03, 0.5]) == [False, True, False, False]
    assert holm([0.01, 0.016, 0.5]) == [True, True, False]
    assert holm([]) == []


def test_equal_gaps_in_every_pair_are_certain() -> None:
    assert paired_difference([2.0, 3.0], [1.0, 2.0]).p == 0
    assert paired_difference([2.0, 3.0], [2.0, 3.0]).p == 1
    assert paired_difference([2.0], [1.0]).p == 1
