"""Who begins a race, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kdengine import assembly
from kdengine.comparison.plan import ALONE, SEARCH_SEED, make_plan
from kdengine.errors import BadInput
from kdengine.forecast import forecast
from kdengine.jobs import Placement
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.registry import METHODS
from kdengine.workspace import Workspace
from studies.race.course import Split
from studies.race.plan import RacePlan


def slots(workspace: Workspace) -> int:
    """How many runs this machine takes at once."""
    return Placement(per_gpu=lambda: jobs_per_gpu(workspace)).capacity()


def all_that_go(mapping: Mapping[str, Any], workspace: Workspace) -> tuple[list[str], dict[str, str]]:
    """The methods that these data and networks can be trained with, and why each of the others cannot.

    Without a teacher those that need one are not spoken of.
    """
    alone = not mapping.get("teacher") or mapping["teacher"] == "none"
    going, left_out = [], {}
    for name in METHODS.names():
        method: Any = METHODS.get(name)
        if name == ALONE or (alone and method.requires(method.Params()).teacher):
            continue
        try:
            plan = make_plan("race", mapping, [name], (0,), cutmix=False)
            assembly.preflight(plan.spec(plan.arms[-1], SEARCH_SEED), workspace)
        except BadInput as error:
            left_out[name] = "; ".join(problem.message for problem in error.problems)
            continue
        going.append(name)
    return going, left_out


def weighed(race: RacePlan, workspace: Workspace, tell: Callable[[str], object] = lambda name: None) -> RacePlan:
    """The race with the seconds that an epoch takes with each method, its share of start and test among them, forecast
    from a few steps of each.

    Args:
        race: whose methods are measured.
        workspace: where data and teacher are.
        tell: told the name of each before it is measured.

    Raises:
        BadInput: a method cannot be run.
    """
    rates = {}
    plan = race.searched(race.methods, Split(race.seeds, 0))
    for arm in plan.arms:
        tell(arm.name)
        rates[arm.name] = forecast(plan.spec(arm, SEARCH_SEED), workspace).seconds / race.epochs
    return race.model_copy(update={"rates": rates})
