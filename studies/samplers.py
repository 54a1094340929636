"""Optuna's samplers and pruners as a plan names them."""

from __future__ import annotations

import importlib.util
import warnings
import zlib
from collections.abc import Sequence

import numpy as np
from optuna import pruners, samplers
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kdengine.errors import BadInput, Problem
from studies.plan import StudyPlan

EXHAUSTED = "exhausted"
NEEDED = {"cmaes": ("cmaes", "cmaes"), "gp": ("torch", "torch")}


def available(name: str) -> bool:
    """Whether the packages of a sampler are installed."""
    return name not in NEEDED or importlib.util.find_spec(NEEDED[name][0]) is not None


def sampler(plan: StudyPlan, number: int = 0) -> BaseSampler:
    """The sampler of a plan for one trial; raises BadInput when its package is not installed.

    Each trial has random numbers of its own: a controller that starts again must not draw the first values again.
    """
    with warnings.catch_warnings():  # what may change is pinned by the versions that are supported
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _sampler(plan, number)


def _sampler(plan: StudyPlan, number: int) -> BaseSampler:
    if not available(plan.sampler):
        package = NEEDED[plan.sampler][1]
        raise BadInput(Problem("sampler", f"{plan.sampler} needs the package {package}: pip install {package}"))
    own = plan.sampler_seed if plan.sampler_seed is not None else zlib.crc32(plan.name.encode())
    seed = int(np.random.SeedSequence((own, number)).generate_state(1)[0])
    conditional = any(dimension.when for dimension in plan.searched)
    match plan.sampler:
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "grid":
            return _Grid(seed=seed)
        case "cmaes":
            return samplers.CmaEsSampler(seed=seed, n_startup_trials=plan.startup, warn_independent_sampling=False)
        case "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=plan.startup)
    # Settings that matter in some trials only have a model of their own (group); together they are drawn jointly.
    return samplers.TPESampler(seed=seed, n_startup_trials=plan.startup, multivariate=True, group=conditional)


def pruner(plan: StudyPlan) -> BasePruner:
    """The pruner of a plan."""
    epochs = int(plan.experiment["recipe"]["epochs"])
    match plan.pruner:
        case "median":
            return pruners.MedianPruner(n_startup_trials=plan.startup, n_warmup_steps=plan.patience)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=max(1, plan.patience), max_resource=epochs)
    return pruners.NopPruner()


class _Grid(samplers.BruteForceSampler):  # type: ignore[misc]
    """Every point of the grid once. Optuna ends its own loop when there is none left; ours checks the study."""

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        try:
            super().after_trial(study, trial, state, values)
        except RuntimeError:
            study.set_user_attr(EXHAUSTED, True)
