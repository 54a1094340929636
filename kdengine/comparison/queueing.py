"""Beginning, continuing and stopping a comparison: its runs are jobs like any other."""

from __future__ import annotations

from collections.abc import Mapping

from kdengine.comparison.plan import COMPARISON, Plan, pinned
from kdengine.comparison.progress import MISSING, progress
from kdengine.comparison.stored_plans import joined, save_plan
from kdengine.errors import BadInput, Problem
from kdengine.jobs import JobStore
from kdengine.jobs.job import ACTIVE
from kdengine.workspace import Workspace
from kdengine.workspace.states import State


def begin(plan: Plan, workspace: Workspace) -> int:
    """Checks every arm, keeps the plan, and queues what is missing.

    Returns:
        How many runs were queued; the teacher, where it must be trained first, is not counted.

    Raises:
        BadInput: every problem of every arm at once; nothing was written or queued.
    """
    from kdengine import assembly  # brings torch, which a page that only stops does without

    plan = joined(pinned(plan, workspace), workspace)
    problems = []
    for arm in plan.arms:
        try:
            assembly.preflight(plan.spec(arm, plan.seeds[0]), workspace)
        except BadInput as error:
            problems += [Problem(f"arm {arm.name!r}, {problem.field}", problem.message) for problem in error.problems]
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    save_plan(plan, workspace)
    return queue_missing(plan, workspace, again=False)


def queue_missing(
    plan: Plan, workspace: Workspace, *, again: bool = True, status: Mapping[str, str] | None = None
) -> int:
    """Hands every run that is neither finished nor under way to the queue.

    Args:
        plan: what is compared.
        workspace: where the queue is.
        again: resume what was stopped, failed or lost, and the teachers that runs wait for; else leave it.
        status: what stands in the status of a new run; default: that it belongs to the comparison of this name.

    Returns:
        How many runs were queued or resumed.
    """
    from kdengine.assembly.launch import submit

    store = JobStore(workspace)
    count = 0
    now = progress(plan, workspace)
    for awaited in sorted({str(state.blocked_by) for state in now.blocked}) if again else ():
        store.resume(awaited)
    for state in now.cells:
        if state.state == MISSING:
            submit(state.cell.spec, workspace, status={COMPARISON: plan.name} if status is None else status)
        elif again and state.run is not None and State(state.state).resumable:
            if store.find(state.run.id) is None:
                store.adopt(state.run)
            store.resume(state.run.id)
        else:
            continue
        count += 1
    return count


def stop(plan: Plan, workspace: Workspace) -> int:
    """Asks all runs under way to stop with a checkpoint and takes the waiting ones out of the queue; how many."""
    store = JobStore(workspace)
    count = 0
    for cell in progress(plan, workspace).cells:
        if cell.run is None or cell.state not in ACTIVE | {State.QUEUED}:
            continue
        try:
            (store.cancel if cell.state == State.QUEUED else store.request_stop)(cell.run.id)
        except BadInput:
            continue  # it has ended, or begun, in this moment
        count += 1
    return count
