"""What the Studies page knows: studies by name, their controllers, confirmations and figures.

Optuna is imported on first use, not with the page: it would delay the start of the whole dashboard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdengine.jobs import Job, JobStore
from kdengine.workspace import Workspace

if TYPE_CHECKING:
    from optuna.study import Study

    from studies.confirm import Confirmation
    from studies.trials import StudyView, TrialRow


class StudyBoard:
    """Reads studies for the page.

    Args:
        workspace: whose studies are shown.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store = JobStore(workspace)

    def names(self) -> list[str]:
        """Studies made by this program, the newest first; raises KdError when the database cannot be used."""
        from studies import storage

        if storage.address(self.workspace).startswith("sqlite") and not self.workspace.studies_db.exists():
            return []
        with storage.reachable(self.workspace):
            return storage.names(storage.opened(self.workspace))

    def study(self, name: str) -> Study:
        """As Optuna has it; raises BadInput when there is none of that name."""
        from studies import storage

        with storage.reachable(self.workspace):
            return storage.open_study(storage.opened(self.workspace), name)

    def view(self, name: str) -> StudyView:
        """How a study stands; raises BadInput, KdError."""
        from studies import actions as control

        return control.view(name, self.workspace)

    def job(self, now: StudyView) -> Job | None:
        """Its controller here; None where this workspace has none."""
        return self.store.find(now.plan.job_id)

    def confirmation(self, now: StudyView) -> Confirmation | None:
        """The confirmation on fresh seeds; None before it was started."""
        from kdengine.comparison.stored_plans import load_plan, plan_file
        from studies import confirm

        name = confirm.name_of(now.plan.name)
        if not plan_file(self.workspace, name).exists():
            return None
        plan = load_plan(self.workspace, name)
        arms = [arm.name for arm in plan.arms]
        if len(arms) != 2 or arms[0] != confirm.DEFAULTS or not arms[1].startswith(confirm.TUNED):
            return None  # a comparison of a person's own that is called so
        return confirm.read(now, plan, self.workspace)

    def figure(self, kind: str, now: StudyView, x: str | None, y: str | None) -> Any:
        """One of the figures by its name; x and y are for the contour."""
        from kdengine.figures import studies as drawn
        from studies import figures, words

        plan, metric = now.plan, now.plan.metrics[0]
        if kind in ("history", "curves"):
            rows = [_drawn(row, metric) for row in now.trials]
            axes = {"y": words.axis(metric), "label": plan.name}
            if kind == "history":
                default = now.default
                value = words.scaled(metric, default.values[0]) if default is not None and default.values else None
                return drawn.history(rows, default=value, maximize=plan.directions[0] == "maximize", **axes)
            best = now.best.number if now.best is not None else None
            return drawn.curves(rows, best=best, planned=int(plan.experiment["recipe"]["epochs"]), **axes)
        study = self.study(plan.name)
        if kind == "contour":
            return figures.contour(study, metric, x or "", y or "")
        if kind == "front":
            return figures.front(study, plan.metrics)
        one_metric = {
            "importance": figures.importance,
            "distribution": figures.distribution,
            "timeline": figures.timeline,
            "slices": figures.slices,
            "parallel": figures.parallel,
        }
        return one_metric[kind](study, metric)


def _drawn(row: TrialRow, metric: str) -> Any:
    from kdengine.figures.studies import Trial
    from studies.words import scaled

    value = scaled(metric, row.values[0]) if row.values else None
    return Trial(row.number, row.state, value, {epoch: scaled(metric, y) for epoch, y in row.curve.items()})
