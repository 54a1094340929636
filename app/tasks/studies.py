"""For the Studies page: starting a study, and confirming its best values."""

from __future__ import annotations

from typing import Any

from kdengine.workspace import Workspace


def begin_study(workspace: Workspace, mapping: dict[str, Any]) -> str:
    """Checks and queues a study, as `studies.plan.read` takes it; its name. BadInput names every problem."""
    from kdengine.jobs import ensure_supervisor
    from studies.actions import begin
    from studies.plan import read

    plan = read(mapping)
    begin(plan, workspace)
    ensure_supervisor(workspace)
    return plan.name


def confirm_study(workspace: Workspace, name: str, seeds: int) -> int:
    """Queues best values and defaults of a study with fresh seeds; how many runs."""
    from kdengine.jobs import ensure_supervisor
    from studies import actions as control
    from studies import confirm

    count = confirm.begin(control.view(name, workspace), workspace, seeds)
    ensure_supervisor(workspace)
    return count
