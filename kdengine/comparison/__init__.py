"""Fair comparison of methods: what a difference between runs is worth."""

from kdengine.comparison.statistics import Difference, Spread, paired_difference, spread

__all__ = ["Difference", "Spread", "paired_difference", "spread"]
