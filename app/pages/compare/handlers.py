"""The event handlers of the Compare page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from app import boxes, catalog, pair_controls, text
from app.events import Query
from app.pages.compare import form, state
from app.pages.compare.plans import Plans
from app.pair_controls import Filled
from app.worker import Workers
from kdengine.comparison.plan import Plan, extended
from kdengine.comparison.progress import MISSING, Progress, progress, unmeasured
from kdengine.comparison.report import report
from kdengine.comparison.searches import ArmSearch, searches
from kdengine.comparison.stored_plans import list_plans
from kdengine.comparison.tables import FORMATS
from kdengine.errors import BadInput, KdError
from kdengine.jobs import ensure_supervisor
from kdengine.workspace import Workspace
from studies import comparing

NOTHING_MEASURED: dict[str, Any] = {"of": "", "seconds": None, "note": ""}


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        names: of the form's controls, in the order in which their values come.
        workspace: whose comparisons are shown and begun.
        workers: who computes.
    """

    def __init__(self, names: Sequence[str], workspace: Workspace, workers: Workers) -> None:
        self.names = list(names)
        self.workspace = workspace
        self.workers = workers
        self.plans = Plans(workspace)
        self._unmeasurable: set[str] = set()

    # the form -------------------------------------------------------------------------------------------------------

    def summarize(self, measured: dict[str, Any], *values: Any) -> list[Any]:
        """Command, button with the number of runs and their time, and the names of the arms."""
        filled = self._filled(values)
        command = form.command(filled)
        try:
            plan = form.plan_of(self.workspace, filled)
        except BadInput:
            return [command, gr.update(value="Compare"), ""]
        count = _runs_of(plan)
        seconds = measured["seconds"] if measured["of"] == plan.to_yaml() else None
        time = f", about {text.duration(seconds)}" if seconds is not None else ""
        label = f"Compare: {count} run{'s' if count > 1 else ''}{time}"
        arms = ", ".join(arm.name for arm in plan.arms)
        said = f"{len(plan.arms)} arms ({arms}) x {len(plan.seeds)} seeds. {measured['note'] if time else ''}"
        return [command, gr.update(value=label), boxes.note(said) + _about_tuning(plan)]

    def measure(self, *values: Any) -> dict[str, Any]:
        """What the runs will take one after the other, from a forecast of each arm."""
        filled = self._filled(values)
        try:
            plan = form.plan_of(self.workspace, filled)
            each = [
                self.workers.background.call("forecast", plan.spec(arm, plan.seeds[0]).to_yaml()) for arm in plan.arms
            ]
        except KdError:
            return NOTHING_MEASURED
        teacher = max(forecast["teacher_seconds"] for forecast in each)
        first = f"Training the teacher first takes {text.duration(teacher)} of that. " if teacher else ""
        seconds = teacher + _runs_of(plan) // len(plan.arms) * sum(forecast["seconds"] for forecast in each)
        return {"of": plan.to_yaml(), "seconds": seconds, "note": f"{first}One run at a time, on {each[0]['device']}."}

    def offer_teachers(self, choice: str) -> Any:
        """The teachers for these data; what was chosen stays chosen."""
        return pair_controls.offered_teachers(self.workspace, choice)

    def start(self, *values: Any) -> list[Any]:
        """Queues the runs and shows the comparison; or says what is wrong."""
        filled = self._filled(values)
        try:
            arguments = form.request(self.workspace, filled)
            count = self.workers.acting.call("begin_comparison", *arguments)
        except KdError as error:
            return [boxes.error(error), gr.skip(), gr.skip(), gr.skip()]
        choices = gr.update(choices=list_plans(self.workspace), value=filled["name"])
        return ["", choices, boxes.note(f"{count} runs queued."), gr.update(open=False)]

    def _filled(self, values: tuple[Any, ...]) -> Filled:
        return dict(zip(self.names, values, strict=True))

    # how it stands --------------------------------------------------------------------------------------------------

    def arrive(self, query: Query) -> list[Any]:
        """The comparison that the address names, the newest without a name; an unknown one is reported. The form is
        open where there is none yet."""
        names = list_plans(self.workspace)
        wanted, new = query.get("name"), gr.update(open=not names)
        if wanted and wanted not in names:
            return [gr.update(choices=names, value=None), boxes.problems([f"There is no comparison {wanted!r}."]), new]
        return [gr.update(choices=names, value=wanted or (names[0] if names else None)), "", new]

    def refresh(self, name: str | None, known: str) -> list[Any]:
        """The whole right side when something has changed since the last refresh of this page, else nothing."""
        hidden = [gr.update(visible=False)] * (3 + len(FORMATS))
        no_table = ["", gr.update(visible=False), gr.update(visible=False)]
        if not name:
            return ["", state.empty(bool(list_plans(self.workspace))), *hidden, *no_table]
        try:
            now = progress(self.plans.get(name), self.workspace)
            tuning = searches(now.plan, self.workspace)
        except KdError as error:
            return ["", boxes.error(error), *hidden, *no_table]
        mark = _mark(now, tuning)
        if mark == known:
            return [gr.skip()] * (2 + len(hidden) + len(no_table))  # with mark and text
        return [mark, *state.shown(report(now), now, tuning)]

    def again(self, name: str | None) -> str:
        """Queues again what is missing or has ended early."""
        try:
            return boxes.note(f"{self.workers.acting.call('resume_comparison', name or '')} runs queued.")
        except KdError as error:
            return boxes.error(error)

    def offer_more(self, name: str | None) -> list[Any]:
        """How many seeds the comparison has, and the methods that it lacks."""
        try:
            plan = self.plans.get(name or "")
        except KdError:
            return [gr.skip(), gr.skip()]
        known = {arm.name for arm in plan.arms}
        lacking = [(title, method) for title, method in catalog.methods() if method not in known]
        return [len(plan.seeds), gr.update(choices=lacking, value=[])]

    def weigh(self, name: str | None, seeds: float | None, methods: list[str]) -> Iterator[Any]:
        """What "Add" will do: how many runs it queues and, from a forecast of each arm, how long they take."""
        try:
            plan = extended(self.plans.get(name or ""), int(seeds or 0), list(methods or []))
            missing = [each.cell for each in progress(plan, self.workspace).cells if each.state == MISSING]
        except KdError:
            yield gr.update(value="Add")  # what is wrong is said when it is clicked
            return
        label = f"Add {len(missing)} run{'s' if len(missing) > 1 else ''}"
        yield gr.update(value=label if missing else "Add")
        if not missing:
            return
        specs = {cell.arm: cell.spec.to_yaml() for cell in missing}
        try:
            each = {arm: self.workers.background.call("forecast", spec) for arm, spec in specs.items()}
        except KdError:
            return
        seconds = sum(each[cell.arm]["seconds"] for cell in missing)
        yield gr.update(value=f"{label}, about {text.duration(seconds)}")

    def extend(self, name: str | None, seeds: float | None, methods: list[str]) -> str:
        """Queues more seeds and further methods."""
        try:
            count = self.workers.acting.call("extend_comparison", name or "", int(seeds or 0), list(methods or []))
        except KdError as error:
            return boxes.error(error)
        return boxes.note(f"{count} runs queued." if count else "Nothing to add: choose more seeds or a method.")

    def end(self, name: str | None) -> str:
        """Stops what runs and waits."""
        try:
            plan = self.plans.get(name or "")
            ensure_supervisor(self.workspace)
            stopped = comparing.stop(plan, self.workspace)
            said = boxes.note(f"{stopped.runs} runs are stopped.")
            return said + (boxes.note(f"{stopped.searches} searches are stopped.") if stopped.searches else "")
        except KdError as error:
            return boxes.error(error)

    def measure_finished(self, name: str | None) -> None:
        """One run at a time, and only when nothing trains: other work on the machine would distort the latency."""
        if not name or name in self._unmeasurable:
            return
        try:
            now = progress(self.plans.get(name), self.workspace)
            if not now.under_way and unmeasured(now):
                self.workers.background.call("measure_comparison", name)
        except KdError as error:
            self._unmeasurable.add(name)  # said once, not every few seconds
            gr.Warning(str(error))


def _runs_of(plan: Plan) -> int:
    """How many runs a plan comes to: each arm and seed, and with a search its trials and the tuned arm's runs too."""
    trials = plan.tuning.trials if plan.tuning else None
    return len(plan.arms) * (len(plan.seeds) if trials is None else 2 * len(plan.seeds) + trials)


def _about_tuning(plan: Plan) -> str:
    if plan.tuning is None:
        return ""
    return boxes.note(
        f"Of each arm {plan.tuning.trials} trials search the learning rate and what its method declares as tunable; "
        "what they find is compared too."
    )


def _mark(now: Progress, tuning: Sequence[ArmSearch]) -> str:
    parts = [(cell.state, cell.run.id if cell.run else "") for cell in now.cells]
    whole = repr((now.plan.name, parts, len(unmeasured(now)), now.teacher, tuning))
    return hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()
