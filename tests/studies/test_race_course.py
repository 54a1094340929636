"""What is decided on the course of a race; and on planted results, how often it finds the best and is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from studies.race import course
from studies.race.course import Finalist, Heat, Split, heats, ranked, shortened, split, verdict

SHARES = 20
SEEDS = 5


def test_half_of_the_methods_stay_until_four_are_left_and_the_heats_grow() -> None:
    assert heats(4, 36) == ()
    assert heats(5, 36) == (Heat(18, 5, 4),)
    assert heats(8, 36) == (Heat(18, 8, 4),)
    assert heats(9, 36) == (Heat(9, 9, 5), Heat(18, 5, 4))
    assert heats(30, 40) == (Heat(5, 30, 15), Heat(10, 15, 8), Heat(20, 8, 4))
    assert heats(30, 2) == (Heat(1, 30, 15), Heat(1, 15, 8), Heat(1, 8, 4))


def test_a_recipe_is_drawn_together_with_its_schedule() -> None:
    whole = {"epochs": 240, "milestones": (150, 180, 210), "warmup_epochs": 8.0, "lr": 0.05}
    assert shortened(whole, 60) == {"epochs": 60, "milestones": [38, 45, 52], "warmup_epochs": 2.0, "lr": 0.05}
    # Two milestones that fall on one epoch are one drop of the rate, not an error.
    assert shortened(whole | {"milestones": (150, 160)}, 6)["milestones"] == [4]


def test_the_best_is_first_and_what_is_no_number_last() -> None:
    assert ranked({"a": 0.2, "b": math.nan, "c": 0.9, "d": 0.2}) == ["c", "a", "d", "b"]


def test_what_is_left_is_divided_by_hand() -> None:
    rates = {"none": 1.0, "kd": 2.0, "dkd": 2.0, "crd": 4.0, "byot": 1.0}
    # A seed of the final takes 10 * (1 + 4 + 2 + 2) = 90 s; an epoch of all five searches 10 s.
    assert split(650, rates, "none", 10, 5) == Split(5, 20)
    assert split(640, rates, "none", 10, 5) == Split(4, 28)
    assert split(471, rates, "none", 10, 5) == Split(3, 20)
    assert split(469, rates, "none", 10, 5) == Split(3, 0)
    assert split(-5, rates, "none", 10, 5) == Split(3, 0)
    assert split(1e6, rates, "none", 10, 2).seeds == 2


def test_the_least_that_a_race_takes_by_hand() -> None:
    rates = {"none": 1.0, "a": 2.0, "b": 2.0, "c": 2.0, "d": 2.0, "e": 3.0}
    # One heat of 5 epochs with all: 5 * 12; then 3 seeds of 10 epochs of none and three: 30 * (1 + 3 + 2 + 2).
    assert course.least_seconds(rates, "none", 10, 5) == 60 + 240


def test_validation_chooses_and_test_decides() -> None:
    better = [72.0, 72.5, 71.8, 72.3, 72.1]
    alone = [70.0, 70.3, 70.1, 70.2, 69.9]
    lucky = Finalist([80.0] * 5, [70.1, 70.2, 70.0, 70.4, 69.8], alone)
    found = verdict({"kd": Finalist([74.0] * 5, better, alone), "dkd": lucky})
    assert (found.first, found.won) == ("dkd", False)
    found = verdict({"kd": Finalist([81.0] * 5, better, alone), "dkd": lucky})
    assert (found.first, found.won) == ("kd", True)
    assert found.gain.mean == pytest.approx(sum(better) / 5 - sum(alone) / 5)


def test_one_seed_shows_nothing_and_a_loss_is_no_win() -> None:
    assert not verdict({"kd": Finalist([80.0], [90.0], [10.0])}).won
    assert not verdict({"kd": Finalist([80.0] * 3, [60.0, 60.1, 60.0], [70.0, 70.1, 69.9])}).won


def test_the_more_finalists_the_more_a_gain_must_show() -> None:
    """Among three a p of 0.04 is not enough, among two it is."""
    alone = [70.0] * 5
    other = Finalist([70.0] * 5, alone, alone)
    drawn = Finalist([75.0] * 5, [70.06, 70.27, 70.6, 70.93, 71.14], alone)  # t = 3.0 with four degrees of freedom
    found = verdict({"kd": drawn, "a": other})
    assert 1 / 30 < found.gain.p < 0.05
    assert found.won
    assert not verdict({"kd": drawn, "a": other, "b": other}).won


def planted(gains: dict[str, float], rng: np.random.Generator, epochs: int = 36) -> course.Verdict:
    """A race whose truth is known. Accuracies scatter by 1 from seed to seed; short runs show less of a gain.

    Half of the scatter is the seed's own and the same for all methods; what validation shows of a run's luck test
    shows too. A search shows the luckiest of six trials.
    """
    left = list(gains)
    for heat in heats(len(left), epochs):
        shown = {name: gains[name] * math.sqrt(heat.epochs / epochs) + rng.normal() for name in left}
        left = ranked(shown)[: heat.stay]
    promised = {name: gains[name] + max(rng.normal(size=6)) for name in left}
    seed = rng.normal(scale=0.5, size=SEEDS)
    rest = math.sqrt(1 - 0.5**2)
    alone = seed + rng.normal(scale=rest, size=SEEDS)
    found = {}
    for name in ranked(promised)[: course.FINALISTS]:
        own = rng.normal(scale=rest, size=SEEDS)
        validation = 0.7 * own + math.sqrt(1 - 0.7**2) * rng.normal(scale=rest, size=SEEDS)
        found[name] = Finalist(gains[name] + seed + validation, gains[name] + seed + own, alone)
    return verdict(found)


@pytest.mark.parametrize(("methods", "gap"), [(4, 3.0), (12, 3.0), (30, 4.0)])
def test_the_best_method_wins_in_four_of_five_races(methods: int, gap: float) -> None:
    """As docs/race.md promises: so many standard deviations of a run above all others and the student alone."""
    rng = np.random.default_rng(0)
    gains = dict.fromkeys((f"m{number}" for number in range(methods)), 0.0) | {f"m{methods - 1}": gap}
    ends = [planted(gains, rng) for _ in range(200)]
    assert sum(end.won and end.first == f"m{methods - 1}" for end in ends) >= 160


@pytest.mark.parametrize("methods", [1, 4, 12, 30])
def test_where_no_method_helps_a_winner_is_announced_in_one_race_of_twenty_at_most(methods: int) -> None:
    rng = np.random.default_rng(1)
    gains = dict.fromkeys((f"m{number}" for number in range(methods)), 0.0)
    wrong = sum(planted(gains, rng).won for _ in range(1000))
    assert wrong <= SHARES * 2.5  # 5 % of a thousand


def test_methods_that_hurt_do_not_win() -> None:
    rng = np.random.default_rng(2)
    gains = dict.fromkeys((f"m{number}" for number in range(12)), -1.0)
    assert sum(planted(gains, rng).won for _ in range(200)) <= 2
