"""A tuned comparison: every arm's settings are searched with the same budget, then run on the comparison's own seeds.

One study an arm, each with one trial at a time: so its course does not depend on how many others run beside it, and as
many studies are at work as there are slots. Nothing here keeps a state: `advance` looks at the plan of the comparison,
the studies and the queue, takes what steps there are, and may be called at any time, by any process, as often as one
likes. The process of a study calls it when that ends, before it says that it has ended: killed in between, it is lost,
and taking it up again calls it again.
"""

from __future__ import annotations

from collections.abc import Mapping

from kdengine.comparison import queueing
from kdengine.comparison.plan import SEARCH_SEED, TUNED_IN_RECIPE, Arm, Plan, Search, pinned, with_tuned
from kdengine.comparison.searches import FOUND, WAITING, searches, study_name
from kdengine.comparison.stored_plans import joined, load_plan, save_plan
from kdengine.errors import BadInput
from kdengine.jobs import JobStore
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.jobs.placement import slots
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace, files
from kdengine.workspace.states import State
from studies import actions, space
from studies.plan import Budget, StudyPlan, read
from studies.space import Dimension
from studies.trials import StudyView

LR_SPAN = 5.0
"""The learning rate is searched from a fifth of the recipe's to five times that."""
LARGEST_LR = 10.0
STARTUP_SHARE = 3
PATIENCE_SHARE = 3
LOCK = "tuning.lock"


def begin(plan: Plan, workspace: Workspace) -> int:
    """Checks every arm, keeps the plan, queues the runs with the settings as they are, and begins the searches.

    Returns:
        How many runs were queued.

    Raises:
        BadInput: every problem of every arm and of its space at once; nothing was begun.
    """
    plan = joined(pinned(plan, workspace), workspace)
    problems = []
    for arm in plan.asked:
        try:
            study_plan(plan, arm)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    return queueing.begin(plan, workspace) + advance(plan.name, workspace)


def advance(name: str, workspace: Workspace, ended: str = "") -> int:
    """Takes over what ended searches have found, queues the runs of the tuned arms, begins the searches that may begin.

    Args:
        name: of the comparison.
        workspace: where it is.
        ended: name of the study whose process calls this at its end, while its job still counts as running.

    Returns:
        How many runs were queued.
    """
    with files.lock(workspace.comparisons / name / LOCK):
        plan = load_plan(workspace, name)
        if plan.tuning is None:
            return 0
        whole = plan
        for arm in plan.asked:
            if whole.tuned(arm.name) is None:
                found = found_by_search(whole, arm, workspace, ended)
                whole = whole if found is None else with_tuned(whole, found)
        if whole is not plan:
            save_plan(whole, workspace)
        queued = queueing.queue_missing(whole, workspace, again=False)
        others = [each for each in searches(whole, workspace) if each.study != ended]
        if not any(each.state == State.STOPPED for each in others):  # else somebody has stopped this comparison
            begin_searches(whole, workspace, ended, told=plan.name)
        return queued


def resume(plan: Plan, workspace: Workspace) -> int:
    """Takes up searches that were stopped, lost or failed; how many."""
    advance(plan.name, workspace)  # what has its result needs no more trials
    return resume_searches(load_plan(workspace, plan.name), workspace)


def resume_searches(plan: Plan, workspace: Workspace) -> int:
    """Takes up those that have ended without having found anything; how many."""
    again = [each for each in searches(plan, workspace) if not each.under_way and each.state != FOUND]
    for each in again:
        actions.resume(each.study, workspace)
    return len(again)


def stop(plan: Plan, workspace: Workspace) -> int:
    """Stops the searches under way; how many. None begins by itself until they are taken up again."""
    store, count = JobStore(workspace), 0
    for each in searches(plan, workspace):
        job = store.find(f"{STUDY_PREFIX}{each.study}")
        if job is None or job.state.ended:
            continue
        try:
            actions.stop_now(each.study, workspace)
            count += 1
        except BadInput:
            continue  # it has ended in this moment
    return count


def study_plan(plan: Plan, arm: Arm, told: str = "") -> StudyPlan:
    """The study that searches an arm: the learning rate, and what its method declares as tunable and shows first.

    What the arm itself sets is its own and stays. All arms get the same budget, seed, sampler and pruner; trials of
    one arm and one seed differ in nothing but the searched values. The first trial has the documented defaults, and
    earlier studies are not asked: that would be a larger budget for some. ``told`` is as in `begin_searches`.

    Raises:
        BadInput: the space cannot be.
    """
    assert plan.tuning is not None
    spec = plan.spec(arm, SEARCH_SEED)
    epochs = spec.recipe.epochs
    trials = plan.tuning.trials
    likely = trials or max(2, (plan.tuning.epochs or 0) // epochs)
    values = {
        "name": study_name(plan.name, arm.name),
        "experiment": spec.model_dump(mode="json") | {"title": ""},
        "space": _space(arm, spec),
        "seeds": (SEARCH_SEED,),
        "startup": max(2, likely // STARTUP_SHARE),
        "patience": max(1, epochs // PATIENCE_SHARE),
        "budget": Budget(trials=trials, epochs=plan.tuning.epochs),
        "parallel": 1,
        "earlier": False,
        "comparison": told,
    }
    return read(values)


def _space(arm: Arm, spec: ExperimentSpec) -> tuple[Dimension, ...]:
    """The learning rate around the recipe's own, and the method's settings but those that the arm itself sets."""
    offered = space.offered(spec)
    rate = spec.recipe.lr
    ranges = {f"recipe.{TUNED_IN_RECIPE}": f"{rate / LR_SPAN:g}..{min(LARGEST_LR, rate * LR_SPAN):g}, log"}
    method = arm.changes.get("method")
    own = {f"method.{name}" for name in method} if isinstance(method, Mapping) else set()
    off = [each.field for each in offered if each.field in own or not each.field.startswith("method.")]
    return space.edited(offered, ranges, [name for name in off if name not in ranges])


def found_by_search(plan: Plan, arm: Arm, workspace: Workspace, ended: str = "") -> Search | None:
    """What the search of an arm has found; None before its end, and where no trial is complete."""
    name = study_name(plan.name, arm.name)
    job = JobStore(workspace).find(f"{STUDY_PREFIX}{name}")
    if job is None:
        return None
    now = actions.view(name, workspace)
    if name != ended and job.state is not State.FINISHED and not _is_used_up(now):
        return None
    if now.best is None:
        return None
    default = now.default
    return Search(
        arm=arm.name,
        study=name,
        values=dict(now.best.params),
        trials=now.counted,
        epochs=now.epochs_run,
        validation=now.best.values[0],
        default=default.values[0] if default is not None and default.values else None,
    )


def _is_used_up(now: StudyView) -> bool:
    budget = now.plan.budget
    if now.count("running", "waiting"):
        return False
    enough = budget.trials is not None and now.counted >= budget.trials
    return enough or (budget.epochs is not None and now.epochs_run >= budget.epochs)


def begin_searches(plan: Plan, workspace: Workspace, ended: str = "", told: str = "") -> None:
    """Begins those that wait, as many at once as there are slots.

    Args:
        plan: whose arms are searched.
        workspace: where.
        ended: name of the study whose process calls this at its end.
        told: name of the comparison that the process of each study is to advance at its end; "" for none.
    """
    standing = [each for each in searches(plan, workspace) if each.study != ended]
    at_work = sum(each.under_way and each.state != WAITING for each in standing)
    free = slots(workspace) - at_work
    arms = {arm.name: arm for arm in plan.asked}
    for each in [each for each in standing if each.state == WAITING][: max(0, free)]:
        actions.begin(study_plan(plan, arms[each.arm], told), workspace)
