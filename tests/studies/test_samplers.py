"""Does the search find what is there? On a planted optimum, without a network."""

from __future__ import annotations

import math
import statistics

import optuna
import pytest

from studies import ready_made, samplers, space
from studies.plan import StudyPlan, read

SEEDS = 20
MAX_TRIALS = 100
NEAR = 0.05


def planted(plan: StudyPlan, values: dict[str, space.Value]) -> float:
    """Mean squared distance, in ranges, from the point at 30 % of each."""
    off = []
    for dimension in plan.searched:
        assert dimension.low is not None and dimension.high is not None
        scale = math.log if dimension.log else float
        low, high, value = scale(dimension.low), scale(dimension.high), scale(float(values[dimension.field]))
        off.append(((value - low) / (high - low) - 0.3) ** 2)
    return statistics.fmean(off)


def trials_needed(sampler: str, seed: int) -> int:
    plan = read(ready_made.load("dcad") | {"sampler": sampler, "sampler_seed": seed, "startup": 10})
    study = optuna.create_study(direction="minimize")
    for number in range(MAX_TRIALS):
        study.sampler = samplers.sampler(plan, number)
        trial = study.ask()
        value = planted(plan, space.suggest(trial, plan.searched, plan.experiment))
        study.tell(trial, value)
        if value < NEAR / 4:
            return number + 1
    return MAX_TRIALS


def test_tpe_finds_a_planted_optimum_in_fewer_trials_than_random() -> None:
    needed = {name: [trials_needed(name, seed) for seed in range(SEEDS)] for name in ("tpe", "random")}
    assert statistics.median(needed["tpe"]) < 0.7 * statistics.median(needed["random"]), needed


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "cmaes", "gp"])
@pytest.mark.parametrize("name", ready_made.names())
def test_every_sampler_stays_in_every_ready_space(sampler: str, name: str) -> None:
    plan = read(ready_made.load(name) | {"sampler": sampler, "startup": 2})
    study = optuna.create_study(direction="maximize")
    seen = []
    for number in range(4):
        study.sampler = samplers.sampler(plan, number)
        trial = study.ask()
        values = space.suggest(trial, plan.searched, plan.experiment, plan.points)
        assert all(plan.holds(path, value) for path, value in values.items())
        plan.spec(values, seed=0)
        seen.append(tuple(values.values()))
        study.tell(trial, number / 10)
    assert len(set(seen)) == 4


def test_the_same_seed_asks_the_same_questions_also_after_a_restart() -> None:
    plan = read(ready_made.load("kd"))

    def first(number: int) -> dict[str, space.Value]:
        study = optuna.create_study(sampler=samplers.sampler(plan, number))
        return space.suggest(study.ask(), plan.searched, plan.experiment)

    assert first(0) == first(0) != first(1)


def test_hyperband_and_median_come_from_the_plan() -> None:
    plan = read(ready_made.load("kd") | {"pruner": "hyperband", "patience": 3})
    assert isinstance(samplers.pruner(plan), optuna.pruners.HyperbandPruner)
    assert isinstance(samplers.pruner(read(ready_made.load("kd"))), optuna.pruners.MedianPruner)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_second_study_of_the_same_pair_sees_other_points(sampler: str) -> None:
    def first_points(name: str, **more: int) -> list[dict[str, space.Value]]:
        plan = read(ready_made.load("dcad") | {"name": name, "sampler": sampler} | more)
        study = optuna.create_study()
        points = []
        for number in range(3):
            study.sampler = samplers.sampler(plan, number)
            points.append(space.suggest(study.ask(), plan.searched, plan.experiment))
        return points

    assert first_points("one") == first_points("one")
    assert not any(point in first_points("one") for point in first_points("two"))
    assert first_points("one", sampler_seed=3) == first_points("two", sampler_seed=3)
