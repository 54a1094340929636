"""Is the gain real? The best values and the defaults once more, with seeds that the search has never seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kdengine.comparison.plan import Arm, Plan
from kdengine.comparison.progress import Progress, progress
from kdengine.comparison.queueing import begin as begin_comparison
from kdengine.comparison.statistics import Difference, Spread, paired_difference, spread
from kdengine.errors import BadInput, Problem
from kdengine.spec import unflatten
from kdengine.workspace import Workspace
from studies import space, trials
from studies.space import Value

DEFAULTS, TUNED = "defaults", "tuned"
FIRST_SEED = 1000
SEEDS = 5


@dataclass(frozen=True)
class Confirmation:
    """Defaults and tuned values on the same fresh seeds.

    Attributes:
        params: the tuned values.
        promised: the best trial's accuracy in the search, 0..1: the luckiest of many, on the images it was chosen by.
        default_promised: the default trial's, None where it was not complete.
        seeds: of both.
        finished, total: runs.
        under_way: whether some are queued or at work.
        validation, test: arm -> mean and spread of the accuracy (0..1) of the students best by validation.
        gain: test accuracy of tuned - defaults, seed by seed; None before a seed is finished in both.
        plan: the comparison that runs them, seen on the Compare page too.
    """

    params: dict[str, Value]
    promised: float
    default_promised: float | None
    seeds: tuple[int, ...]
    finished: int
    total: int
    under_way: bool
    validation: dict[str, Spread]
    test: dict[str, Spread]
    gain: Difference | None
    plan: Plan


def name_of(study: str) -> str:
    """Name of the comparison that confirms a study."""
    return f"{study[:40]}-confirm"


def begin(now: trials.StudyView, workspace: Workspace, seeds: int = SEEDS, number: int | None = None) -> int:
    """Queues the runs that confirm a study.

    Args:
        now: the study.
        workspace: where the queue is.
        seeds: how many fresh ones.
        number: the trial whose values are confirmed; by default the best.

    Returns:
        How many runs were queued.

    Raises:
        BadInput: no trial is complete yet, the best one has the default values, or there is a confirmation of others.
    """
    return begin_comparison(plan_for(now, seeds, number), workspace)


def plan_for(now: trials.StudyView, seeds: int = SEEDS, number: int | None = None) -> Plan:
    """The comparison of the best (or a named) trial with the defaults; raises BadInput."""
    row = now.best if number is None else now.trial(number)
    if row is None or row.state != "complete":
        raise BadInput(Problem("study", "no trial is complete yet; nothing can be confirmed"))
    if row.params == trials.starting_values(now.plan):
        message = "the defaults are the best that was found: there is no gain to confirm; extend the study, or widen it"
        raise BadInput(Problem("study", message))
    if seeds < 2:
        raise BadInput(Problem("seeds", f"found {seeds}, expected 2 or more; 5 give a verdict a chance"))
    changes = unflatten(row.params)
    if "method" in changes:
        changes["method"] = {"name": now.plan.experiment["method"]["name"]} | changes["method"]
    arms = (Arm(name=DEFAULTS), Arm(name=f"{TUNED}, trial {row.number}", changes=changes))
    fresh = [seed for seed in range(FIRST_SEED, FIRST_SEED + seeds + len(now.plan.seeds)) if seed not in now.plan.seeds]
    return Plan(name=name_of(now.plan.name), common=now.plan.experiment, arms=arms, seeds=tuple(fresh[:seeds]))


def read(now: trials.StudyView, plan: Plan, workspace: Workspace) -> Confirmation:
    """How the confirmation stands."""
    done = progress(plan, workspace)
    tuned_arm = plan.arms[1].name
    number = int(tuned_arm.rpartition(" ")[2])
    row = now.trial(number)
    assert row is not None, "trials are never taken out of a study"
    test = {arm: _accuracies(done, arm, "test") for arm in (DEFAULTS, tuned_arm)}
    validation = {arm: _accuracies(done, arm, "validation") for arm in (DEFAULTS, tuned_arm)}
    common = sorted(set(test[DEFAULTS]) & set(test[tuned_arm]))
    gain = None
    if common:
        gain = paired_difference([test[tuned_arm][seed] for seed in common], [test[DEFAULTS][seed] for seed in common])
    default = now.default
    return Confirmation(
        params=row.params,
        promised=row.values[0],
        default_promised=default.values[0] if default is not None and default.values else None,
        seeds=plan.seeds,
        finished=done.count("finished"),
        total=len(done.cells),
        under_way=done.under_way,
        validation={label: spread(list(found.values())) for label, found in _named(validation, tuned_arm) if found},
        test={label: spread(list(found.values())) for label, found in _named(test, tuned_arm) if found},
        gain=gain,
        plan=plan,
    )


def _named(found: dict[str, dict[int, float]], tuned_arm: str) -> list[tuple[str, dict[int, float]]]:
    return [(DEFAULTS, found[DEFAULTS]), (TUNED, found[tuned_arm])]


def _accuracies(done: Progress, arm: str, part: str) -> dict[int, float]:
    found = {}
    for cell in done.of(arm):
        if cell.finished and cell.run is not None:
            status = cell.run.status()
            accuracy = status["best"]["accuracy"] if part == "validation" else status["test"]["best"]["accuracy"]
            found[cell.cell.seed] = float(accuracy)
    return found


def spec_of(now: trials.StudyView, number: int | None = None) -> dict[str, Any]:
    """The experiment with the values of a trial (by default the best), for the Launch page or `kd train --spec`.

    Raises:
        BadInput: there is no such trial, or none is complete.
    """
    row = now.best if number is None else now.trial(number)
    if row is None or not row.params:
        raise BadInput(
            Problem("trial", "no trial is complete yet" if number is None else f"there is no trial {number}")
        )
    return space.overlaid(now.plan.experiment, row.params)
