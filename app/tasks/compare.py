"""For the Compare page: a comparison begins, goes on, and is measured."""

from __future__ import annotations

from typing import Any

from kdengine.workspace import Workspace


def begin_comparison(
    workspace: Workspace,
    name: str,
    mapping: dict[str, Any],
    methods: list[str],
    seeds: int,
    arms: list[str],
    cutmix: bool,
) -> int:
    """Checks and queues a comparison; how many runs. BadInput names every problem of every arm."""
    from kdengine.comparison.plan import make_plan
    from kdengine.comparison.queueing import begin
    from kdengine.jobs import ensure_supervisor

    count = begin(make_plan(name, mapping, methods, range(seeds), arms, cutmix=cutmix), workspace)
    ensure_supervisor(workspace)
    return count


def resume_comparison(workspace: Workspace, name: str) -> int:
    """Queues again what is missing, was stopped, lost or failed; how many runs."""
    from kdengine.comparison.plan import load_plan
    from kdengine.comparison.queueing import queue_missing
    from kdengine.jobs import ensure_supervisor

    count = queue_missing(load_plan(workspace, name), workspace)
    ensure_supervisor(workspace)
    return count


def extend_comparison(workspace: Workspace, name: str, seeds: int, methods: list[str]) -> int:
    """Adds seeds and methods to a comparison and queues what is missing then; how many runs."""
    from kdengine.comparison.plan import extended, load_plan
    from kdengine.comparison.queueing import begin
    from kdengine.jobs import ensure_supervisor

    count = begin(extended(load_plan(workspace, name), seeds, methods), workspace)
    ensure_supervisor(workspace)
    return count


def measure_comparison(workspace: Workspace, name: str) -> int:
    """Measures fidelity, size and latency of one finished run that has none yet; how many are left."""
    from kdengine.comparison.measure import measure
    from kdengine.comparison.plan import load_plan
    from kdengine.comparison.progress import progress, unmeasured

    now = progress(load_plan(workspace, name), workspace)
    left = unmeasured(now)
    if left:
        measure(left[0], now.teacher, workspace)
    return max(0, len(left) - 1)
