"""For the Compare page: a comparison begins, goes on, and is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdengine.workspace import Workspace

if TYPE_CHECKING:
    from kdengine.comparison.plan import Plan


def begin_comparison(
    workspace: Workspace,
    name: str,
    mapping: dict[str, Any],
    methods: list[str],
    seeds: int,
    arms: list[str],
    cutmix: bool,
    tune: int,
) -> int:
    """Checks and queues a comparison; how many runs. BadInput names every problem of every arm."""
    from kdengine.comparison.plan import make_plan, tuning_of

    plan = make_plan(name, mapping, methods, range(seeds), arms, cutmix=cutmix, tuning=tuning_of(tune))
    return _begin(plan, workspace)


def resume_comparison(workspace: Workspace, name: str) -> int:
    """Queues again what is missing, was stopped, lost or failed, searches too; how many runs and searches."""
    from kdengine.jobs import ensure_supervisor
    from studies import comparing

    again = comparing.resume(name, workspace)
    ensure_supervisor(workspace)
    return again.runs + again.searches


def extend_comparison(workspace: Workspace, name: str, seeds: int, methods: list[str]) -> int:
    """Adds seeds and methods to a comparison and queues what is missing then; how many runs."""
    from kdengine.comparison.plan import extended
    from kdengine.comparison.stored_plans import load_plan

    return _begin(extended(load_plan(workspace, name), seeds, methods), workspace)


def measure_comparison(workspace: Workspace, name: str) -> int:
    """Measures fidelity, size and latency of one finished run that has none yet; how many are left."""
    from kdengine.comparison.measure import measure
    from kdengine.comparison.progress import progress, unmeasured
    from kdengine.comparison.stored_plans import load_plan

    now = progress(load_plan(workspace, name), workspace)
    left = unmeasured(now)
    if left:
        measure(left[0], now.teacher, workspace)
    return max(0, len(left) - 1)


def _begin(plan: Plan, workspace: Workspace) -> int:
    from kdengine.jobs import ensure_supervisor
    from studies import comparing

    count = comparing.begin(plan, workspace)
    ensure_supervisor(workspace)
    return count
