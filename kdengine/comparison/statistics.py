"""Means, spreads and paired differences over seeds, with intervals that are right for few of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


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
    """

    n: int
    mean: float
    low: float
    high: float

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
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, gaps.n - 1)) * gaps.deviation / math.sqrt(gaps.n)
    return Difference(gaps.n, gaps.mean, gaps.mean - half, gaps.mean + half)
