"""The event handlers of the Race page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import boxes, pair_controls
from app.events import Query
from app.pages.race import form, state
from app.worker import Workers
from kdengine.errors import KdError
from kdengine.jobs import JobStore, ensure_supervisor
from kdengine.workspace import Workspace
from studies.race.standing import load_race, races, standing


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        names: of the form's controls, in the order in which their values come.
        workspace: whose races are shown and begun.
        workers: who computes.
    """

    def __init__(self, names: Sequence[str], workspace: Workspace, workers: Workers) -> None:
        self.names = list(names)
        self.workspace = workspace
        self.workers = workers

    def summarize(self, *values: Any) -> list[Any]:
        """The command, and what will happen."""
        return list(form.summary(self.workspace, self._filled(values)))

    def offer_teachers(self, choice: str) -> Any:
        """The teachers for these data; what was chosen stays chosen."""
        return pair_controls.offered_teachers(self.workspace, choice)

    def start(self, *values: Any) -> list[Any]:
        """Measures what each method costs, begins the race and shows it; or says what is wrong."""
        filled = self._filled(values)
        try:
            weighed, said = self.workers.background.call("weigh_race", *form.request(self.workspace, filled))
            self.workers.acting.call("begin_race", weighed)
        except KdError as error:
            return [boxes.error(error), gr.skip(), gr.skip(), gr.skip()]
        choices = gr.update(choices=races(self.workspace), value=filled["name"])
        return ["", choices, "".join(boxes.note(line) for line in said), gr.update(open=False)]

    def arrive(self, query: Query) -> list[Any]:
        """The race that the address names, the newest without a name; an unknown one is reported."""
        names = races(self.workspace)
        wanted, new = query.get("name"), gr.update(open=not names)
        if wanted and wanted not in names:
            return [gr.update(choices=names, value=None), boxes.problems([f"There is no race {wanted!r}."]), new]
        return [gr.update(choices=names, value=wanted or (names[0] if names else None)), "", new]

    def refresh(self, name: str | None, known: str) -> list[Any]:
        """The state and its table when something has changed since the last look of this page, else nothing."""
        hidden = [*[gr.update(visible=False)] * 3, ""]
        if not name:
            return ["", state.empty(bool(races(self.workspace))), *hidden]
        try:
            shown = state.shown(standing(load_race(name, self.workspace), self.workspace))
        except KdError as error:
            return ["", boxes.error(error), *hidden]
        mark = f"{name} {shown[0]}"
        return [gr.skip()] * 6 if mark == known else [mark, *shown]

    def again(self, name: str | None) -> str:
        """Takes the race up again."""
        try:
            race = load_race(name or "", self.workspace)
            JobStore(self.workspace).resume(race.job_id)
            ensure_supervisor(self.workspace)
        except KdError as error:
            return boxes.error(error)
        return boxes.note("The race goes on.")

    def end(self, name: str | None) -> str:
        """Stops its runs with a checkpoint."""
        try:
            race = load_race(name or "", self.workspace)
            ensure_supervisor(self.workspace)
            JobStore(self.workspace).request_stop(race.job_id)
        except KdError as error:
            return boxes.error(error)
        return boxes.note("The race stops; its runs write a checkpoint.")

    def _filled(self, values: tuple[Any, ...]) -> pair_controls.Filled:
        return dict(zip(self.names, values, strict=True))
