"""Fair comparison of methods: arms x seeds under one recipe, and what a difference between them is worth."""

from kdengine.comparison.statistics import Difference, Spread, holm, paired_difference, seeds_to_decide, spread

__all__ = ["Difference", "Spread", "holm", "paired_difference", "seeds_to_decide", "spread"]
