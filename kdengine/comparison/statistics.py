"""Means, spreads and paired differences over seeds, with intervals that are right for few of them.

scipy is imported where it computes: every page process loads this module, few compute with it.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
POWER = 0.8
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Spread:
    """Several runs of one thing: their number, mean, and sample standard deviation (0 for a single run)."""

    n: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and its confidence interval (infinite for a single pair).

    Attributes:
        n: pairs.
        mean: of the differences.
        low, high: ends of the 95 % interval, Student's t with n - 1 degrees of freedom.
        deviation: sample standard deviation of the differences (0 for a single pair).
        p: probability of a mean at least as far from zero, were there no difference (two-sided t test); 1 for a single
            pair.
    """

    n: int
    mean: float
    low: float
    high: float
    deviation: float = 0.0
    p: float = 1.0

    @property
    def verdict(self) -> str:
        """ "helps" or "hurts" where the interval leaves zero out, else "not decided"."""
        if self.low > 0:
            return "helps"
        return "hurts" if self.high < 0 else "not decided"


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread; raises ValueError for no values."""
    if not values:
        raise ValueError("found no values, expected at least one")
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(len(values), statistics.fmean(values), deviation)


def paired_difference(ours: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Mean of ours - baseline, pair by pair (same seed), with its interval.

    Raises:
        ValueError: the two have different lengths, or are empty.
    """
    if len(ours) != len(baseline):
        raise ValueError(f"found {len(ours)} and {len(baseline)} values, expected pairs")
    gaps = spread([a - b for a, b in zip(ours, baseline, strict=True)])
    if gaps.n == 1:
        return Difference(1, gaps.mean, -math.inf, math.inf)
    from scipy import stats

    error = gaps.deviation / math.sqrt(gaps.n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, gaps.n - 1)) * error
    # Equal gaps in every pair: certain, but for nothing at all.
    p = 2 * float(stats.t.sf(abs(gaps.mean) / error, gaps.n - 1)) if error else float(gaps.mean == 0)
    return Difference(gaps.n, gaps.mean, gaps.mean - half, gaps.mean + half, gaps.deviation, p)


def seeds_to_decide(effect: float, deviation: float) -> int | None:
    """How many seeds let the 95 % interval leave zero out in four of five repetitions, for differences of that kind.

    Args:
        effect: mean of the paired differences.
        deviation: their standard deviation.

    Returns:
        The least n whose t test has a power of 0.8 (non-central t); None where a thousand would not do, or the effect
        is zero.
    """
    if effect == 0:
        return None
    if deviation == 0:
        return 2
    counts = range(2, MAX_SEEDS + 1)
    # Power grows with n; to ask every n takes seconds for a table of thirty arms.
    place = bisect_left(counts, POWER, key=lambda n: _power(abs(effect) / deviation, n))
    return counts[place] if place < len(counts) else None


def _power(standardized: float, n: int) -> float:
    """Probability that the two-sided test of n pairs rejects, for a mean of so many standard deviations."""
    from scipy import stats

    limit = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    shift = standardized * math.sqrt(n)
    above, below = float(stats.nct.sf(limit, n - 1, shift)), float(stats.nct.cdf(-limit, n - 1, shift))
    # For large shifts scipy gives no number where the one is 1 and the other 0 within rounding.
    return (1.0 if math.isnan(above) else above) + (0.0 if math.isnan(below) else below)


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests hold together at 5 %: the chance that any is a false one stays below that.

    Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 1979.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    holds = [False] * len(p_values)
    for rank, index in enumerate(order):
        if p_values[index] > (1 - CONFIDENCE) / (len(p_values) - rank):
            break
        holds[index] = True
    return holds
