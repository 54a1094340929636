"""The event handlers of the Studies page for the chosen study."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import gradio as gr

from app import boxes
from app.events import Query
from app.pages.studies.board import StudyBoard
from app.pages.studies.display import COUNTS, drawn, nothing, parts_of
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.jobs import ensure_supervisor


class StudyHandlers:
    """Every method takes plain values and returns what the components show.

    What a button did is shown in a notice; the result is "" then, and a message in a box where it was refused.

    Args:
        board: what is known of the studies.
        worker: queues the runs.
    """

    def __init__(self, board: StudyBoard, worker: Worker) -> None:
        self.board = board
        self.workspace = board.workspace
        self.worker = worker

    def arrive(self, query: Query) -> list[Any]:
        """The study that the address names, the newest without a name; an unknown one is reported. The form is open
        where there is no study yet, or the address brings an experiment for a new one."""
        try:
            names = self.board.names()
        except KdError as error:
            return [gr.update(choices=[], value=None), boxes.problems([str(error)]), gr.skip()]
        form = gr.update(open=not names or "spec" in query)
        wanted = query.get("name")
        if wanted and wanted not in names:
            return [gr.update(choices=names, value=None), boxes.problems([f"There is no study {wanted!r}."]), form]
        return [gr.update(choices=names, value=wanted or (names[0] if names else None)), "", form]

    def refresh(self, name: str | None, kind: str, x: str | None, y: str | None, known: dict[str, str]) -> list[Any]:
        """Whatever has changed since the last refresh of this page; nothing at all when nothing has.

        Args:
            name: of the study.
            kind: of the figure whose tab is open.
            x: setting across, of the figure of pairs.
            y: setting up.
            known: marks of what the page shows, by part.

        Returns:
            The marks now, and the values of all parts, in the order of `COUNTS`.
        """
        try:
            found = parts_of(name, kind, x, y, self.board)
        except KdError as error:
            found = nothing(boxes.error(error))
        marks = {part: _mark(mark) for part, (mark, _) in found.items()}
        new = {part for part, mark in marks.items() if known.get(part) != mark}
        if not new:
            return [gr.skip()] * (1 + sum(COUNTS.values()))
        values: list[Any] = [known | marks]
        for part, count in COUNTS.items():
            values += drawn(part, found[part], self.board) if part in new else [gr.skip()] * count
        return values

    def stop_after_current(self, name: str) -> str:
        """No further trial starts."""

        def act() -> str:
            from studies import actions as control

            control.stop_after_current(name, self.workspace)
            return "no further trial starts"

        return _said(act)

    def stop_now(self, name: str) -> str:
        """Trials stop too."""

        def act() -> str:
            from studies import actions as control

            control.stop_now(name, self.workspace)
            ensure_supervisor(self.workspace)
            return "the runs stop with a checkpoint"

        return _said(act)

    def resume(self, name: str, most: float | None) -> str:
        """Resumes it, with another total number of trials where one is given."""

        def act() -> str:
            from studies import actions as control

            budget = self.board.view(name).plan.budget
            wanted = int(most) if most else None
            changed = budget.model_copy(update={"trials": wanted}) if wanted and wanted != budget.trials else None
            control.resume(name, self.workspace, changed)
            ensure_supervisor(self.workspace)
            return "the study resumes"

        return _said(act)

    def confirm(self, name: str, seeds: float | None) -> str:
        """Best values and defaults run with so many fresh seeds."""
        return _said(lambda: f"{self.worker.call('confirm_study', name, int(seeds or 0))} runs queued")

    def annotate(self, name: str, trial: Any, note: Any) -> str:
        """Notes a sentence at a trial."""

        def act() -> str:
            from studies import actions as control

            control.annotate(name, trial if isinstance(trial, int) else -1, str(note or ""), self.workspace)
            return "the note is kept"

        return _said(act)

    def add_by_hand(self, name: str, line: str) -> str:
        """A trial with these values comes next."""

        def act() -> str:
            from studies import actions as control
            from studies import space

            control.enqueue(name, space.read_values((line or "").replace(",", " ").split()), self.workspace)
            job = self.board.job(self.board.view(name))
            waits = job is None or job.state.ended
            return "it is queued; resume the study with one more trial to run it" if waits else "it runs next"

        return _said(act)


def _said(action: Callable[[], str]) -> str:
    """Words in the box when it was refused; an empty box when it was done."""
    try:
        gr.Info(action())
    except KdError as error:
        return boxes.error(error)
    return ""


def _mark(value: Any) -> str:
    return hashlib.sha1(repr(value).encode(), usedforsecurity=False).hexdigest()
