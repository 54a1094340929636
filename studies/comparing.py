"""Beginning, resuming and stopping a comparison, with searches or without: what the shell and the page both do.

Optuna is imported only where there are searches.
"""

from __future__ import annotations

from typing import NamedTuple

from kdengine.comparison import queueing
from kdengine.comparison.plan import Plan, pinned
from kdengine.comparison.stored_plans import joined, load_plan
from kdengine.workspace import Workspace


class Moved(NamedTuple):
    """How many runs, and how many searches, were set going or stopped."""

    runs: int
    searches: int


def begin(plan: Plan, workspace: Workspace) -> int:
    """Checks every arm, keeps the plan, and queues what is missing; how many runs.

    Of one that was begun with searches those of new arms begin too, whether or not this plan asks for any.

    Raises:
        BadInput: every problem at once; nothing was written or queued.
    """
    if joined(pinned(plan, workspace), workspace).tuning is None:
        return queueing.begin(plan, workspace)
    from studies import tuned

    return tuned.begin(plan, workspace)


def resume(name: str, workspace: Workspace) -> Moved:
    """Queues again what is missing, was stopped, lost or failed, searches too; raises BadInput without such a plan."""
    plan, searching = load_plan(workspace, name), 0
    if plan.tuning is not None:
        from studies import tuned

        searching = tuned.resume(plan, workspace)
        plan = load_plan(workspace, name)
    return Moved(queueing.queue_missing(plan, workspace), searching)


def stop(plan: Plan, workspace: Workspace) -> Moved:
    """Stops what runs and waits, the searches first: they would begin further trials."""
    searching = 0
    if plan.tuning is not None:
        from studies import tuned

        searching = tuned.stop(plan, workspace)
    return Moved(queueing.stop(plan, workspace), searching)
