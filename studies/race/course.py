"""The course of a race and what is decided on it: numbers in, decisions out, nothing is read or run here.

Heats are successive halving with whole short runs (Jamieson and Talwalkar: Non-stochastic Best Arm Identification and
Hyperparameter Optimization. AISTATS 2016): each has a schedule of its own, so a run of three epochs is compared with
runs of three epochs. Half of them stay: with a third, the usual factor, the best of many is lost too often in a first
heat of a single seed (tests/studies/test_race_course.py plants results). Four are tuned and three confirmed; both are
our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kdengine.comparison.statistics import CONFIDENCE, Difference, paired_difference

ONE_IN = 2
"""One in so many stays in a heat, and the heat before has so many times fewer epochs."""
SURVIVORS = 4
FINALISTS = 3
MIN_SEEDS = 3
MIN_TRIALS, MAX_TRIALS = 2, 60
"""A search shorter than so many whole runs finds nothing: then the seeds get the time. One longer than the most gains
nothing: then hours are left over."""


class Heat(NamedTuple):
    """One heat: how long each runs, how many begin, how many stay."""

    epochs: int
    entrants: int
    stay: int


class Split(NamedTuple):
    """What the rest of the budget is spent on: fresh seeds of each finalist, and epochs of each one's search."""

    seeds: int
    tuning_epochs: int


class Finalist(NamedTuple):
    """A method on the fresh seeds, the student alone beside it: accuracies in percent, seed by seed."""

    validation: Sequence[float]
    test: Sequence[float]
    alone: Sequence[float]

    @property
    def gain(self) -> Difference:
        """Test accuracy minus that of the student alone, seed by seed."""
        return paired_difference(self.test, self.alone)


class Verdict(NamedTuple):
    """How a race ends.

    Attributes:
        first: the finalist with the best mean validation accuracy on the fresh seeds.
        gain: its test accuracy minus that of the student alone, seed by seed, in points.
        won: whether that counts as shown: see `verdict`.
    """

    first: str
    gain: Difference
    won: bool


def heats(entrants: int, epochs: int) -> tuple[Heat, ...]:
    """The heats that bring the entrants down to `SURVIVORS`; none where there are no more to begin with.

    Args:
        entrants: methods, without the student alone.
        epochs: of a whole run; the last heat has half of them, the one before a quarter, at least one.
    """
    begin = []
    while entrants > SURVIVORS:
        begin.append(entrants)
        entrants = max(SURVIVORS, math.ceil(entrants / ONE_IN))
    ends = [*begin[1:], SURVIVORS][: len(begin)]
    return tuple(
        Heat(max(1, epochs // ONE_IN ** (len(begin) - number)), count, stay)
        for number, (count, stay) in enumerate(zip(begin, ends, strict=True))
    )


def shortened(recipe: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The recipe of a heat: fewer epochs, and the same schedule drawn together to them."""
    share = epochs / recipe["epochs"]
    milestones = sorted({max(1, round(share * each)) for each in recipe.get("milestones", ())})
    return dict(recipe) | {
        "epochs": epochs,
        "warmup_epochs": recipe["warmup_epochs"] * share,
        "milestones": milestones,
    }


def ranked(accuracy: Mapping[str, float]) -> list[str]:
    """Names, the best first; of equals the one that stands first; what is no number last."""
    return sorted(accuracy, key=lambda name: -accuracy[name] if math.isfinite(accuracy[name]) else math.inf)


def split(left_s: float, rates: Mapping[str, float], alone: str, epochs: int, seeds: int) -> Split:
    """What is left of the budget, divided: as many fresh seeds as were wanted, fewer where no search would have room.

    Args:
        left_s: seconds of runs that are left, of all slots together.
        rates: seconds of an epoch, by name: of the survivors and of the student alone.
        alone: name of the student alone, which is tuned and confirmed as they are.
        epochs: of a whole run.
        seeds: wanted.
    """
    dearest = sorted((rate for name, rate in rates.items() if name != alone), reverse=True)[:FINALISTS]
    a_seed = epochs * (rates[alone] + sum(dearest))
    for count in range(seeds, min(MIN_SEEDS, seeds) - 1, -1):
        tuning = int((left_s - count * a_seed) // sum(rates.values()))
        if tuning >= MIN_TRIALS * epochs:
            return Split(count, min(tuning, MAX_TRIALS * epochs))
    return Split(min(MIN_SEEDS, seeds), 0)


def least_seconds(rates: Mapping[str, float], alone: str, epochs: int, seeds: int) -> float:
    """Seconds of runs that a race takes at least: all heats, and the dearest finalists with the fewest seeds."""
    methods = sorted((name for name in rates if name != alone), key=lambda name: -rates[name])
    total = 0.0
    for heat in heats(len(methods), epochs):
        total += heat.epochs * (rates[alone] + sum(rates[name] for name in methods[: heat.entrants]))
    dearest = sum(rates[name] for name in methods[:FINALISTS])
    return total + min(MIN_SEEDS, seeds) * epochs * (rates[alone] + dearest)


def verdict(finalists: Mapping[str, Finalist]) -> Verdict:
    """Which finalist is first, and whether it is shown to be better than the student alone.

    Validation chooses among the finalists, test is then asked about that one. Because it was chosen on runs of the
    same seeds, whose luck is in both, the limit is shared among the finalists (Bonferroni, one-sided): were none of
    them any better than the student alone, a winner would be announced in at most one race in twenty.
    """
    means = {name: sum(each.validation) / len(each.validation) for name, each in finalists.items()}
    first = ranked(means)[0]
    gain = finalists[first].gain
    limit = min(1.0, 2 / len(finalists)) * (1 - CONFIDENCE)
    return Verdict(first, gain, gain.n > 1 and gain.mean > 0 and gain.p <= limit)
