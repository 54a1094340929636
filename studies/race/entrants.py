"""Who begins a race, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kdengine import assembly
from kdengine.comparison.plan import SEARCH_SEED, candidates, make_plan
from kdengine.errors import BadInput
from kdengine.forecast import forecast
from kdengine.workspace import Workspace
from studies.race.course import Split
from studies.race.plan import RacePlan


def all_that_go(mapping: Mapping[str, Any], workspace: Workspace) -> tuple[list[str], dict[str, str]]:
    """The methods that these data and networks can be trained with, and why each of the others cannot.

    Without a teacher those that need one are not spoken of.
    """
    going, left_out = [], {}
    for name in candidates(mapping.get("teacher")):
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
