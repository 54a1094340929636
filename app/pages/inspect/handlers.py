"""The event handlers of the Inspect page."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import gradio as gr

from app import boxes, text
from app.board import Board
from app.events import Query
from app.pages.inspect.display import SHOWN, drawn, other_epoch, sentence, values_of
from app.pages.inspect.selection import BY_CLASS, UPLOADED, Selection
from app.worker import Worker
from kdengine.errors import KdError

Offer = dict[str, Any]
"""What can be shown of a run, as the task `what_to_inspect` returns it; {} without one."""


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        board: what is known of the runs.
        worker: computes the views.
    """

    def __init__(self, board: Board, worker: Worker) -> None:
        self.board = board
        self.worker = worker

    def arrive(self, query: Query) -> list[Any]:
        """What the address names, the newest run without a name; what is missing is reported, not replaced.

        Returns:
            A message on what is missing, both runs, and the values of `describe`.
        """
        choices = self._choices()
        values = [value for _, value in choices]
        wanted = [query[key] for key in ("run", "with") if query.get(key)]
        missing = boxes.without_network([run for run in wanted if run not in values])
        run = query.get("run") or (values[0] if values and not wanted else None)
        other = query.get("with")
        epoch = query.get("epoch", "")
        run = run if run in values else None
        return [
            missing,
            gr.update(choices=choices, value=run),
            gr.update(choices=[("none", ""), *choices], value=other if other in values else ""),
            *self.describe(run, query.get("what"), int(epoch) if epoch.isdigit() else -1, epoch == "best"),
        ]

    def describe(self, run: str | None, what: str | None, epoch: int, best: bool) -> list[Any]:
        """What can be shown of a run, with as much of the given selection as it has.

        Returns:
            The offer, and group, view, epoch, best weights and classes.
        """
        nothing = [{}, *[gr.skip()] * 5]
        if not run:
            return nothing
        try:
            found: Offer = self.worker.call("what_to_inspect", run)
        except KdError as error:
            gr.Warning(str(error))
            return nothing
        names = [name for _, name in found["views"]]
        shown = what if what in names else names[0]
        group = next(group for group, members in found["groups"].items() if shown in members)
        numbers = found["epochs"]
        last = max(numbers, default=0)
        return [
            found,
            gr.update(choices=list(found["groups"]), value=group),
            gr.update(choices=_views(found, group), value=shown),
            gr.update(maximum=max(1, last), value=epoch if epoch in numbers else last, interactive=bool(numbers)),
            gr.update(value=best or not numbers, interactive=bool(numbers)),
            gr.update(choices=found["classes"]),
        ]

    def choose_group(self, offer: Offer, group: str | None, *values: Any) -> list[Any]:
        """The views of a group, of which the first is shown.

        Returns:
            View, and the values of `show`.
        """
        if not offer or group is None or group not in offer["groups"]:
            return [gr.skip()] * (1 + SHOWN)
        first = offer["groups"][group][0]
        shown = self.show(offer, *astuple(replace(Selection(*values), what=first)))
        return [gr.update(choices=_views(offer, group), value=first), *shown]

    def show(self, offer: Offer, *values: Any) -> list[Any]:
        """The selected view, drawn; or one sentence why not.

        Args:
            offer: of the run.
            values: the fields of `Selection`.

        Returns:
            Values of `Parts.shown`.
        """
        selection = Selection(*values)
        if selection.run and not (offer and selection.what):
            return [gr.skip()] * SHOWN
        if not selection.run or not selection.what:
            return values_of("", _empty(bool(self._choices())), [])
        request, note = selection.request(offer)
        try:
            result = self.worker.call("inspect", request)
            drawings = drawn(result, selection, for_page=True)
        except KdError as error:
            return values_of(boxes.refusal(error), "", [])
        where = f"What was not recorded is {result['beside']}." if result.get("beside") else ""
        said = " ".join(filter(None, (sentence(result, selection), note, other_epoch(result, request), where)))
        words = f'<p class="kd-lead" id="inspect-sentence">{text.escape(said)}</p>'
        return values_of(words, "", drawings, result, selection, offer["epochs"])

    def choose_source(self, source: str) -> list[Any]:
        """Classes, or files; each for its source alone."""
        return [gr.update(visible=source == BY_CLASS), gr.update(visible=source == UPLOADED)]

    def play(self, playing: bool) -> tuple[Any, bool, str]:
        """Begins to go through the epochs, or ends it: the clock, whether it plays, and the button's word."""
        return gr.update(active=not playing), not playing, "Play" if playing else "Pause"

    def advance(self, offer: Offer, epoch: int) -> int:
        """The next epoch; after the last the first."""
        numbers: list[int] = offer.get("epochs") or [epoch]
        return next((number for number in numbers if number > epoch), numbers[0])

    def _choices(self) -> list[tuple[str, str]]:
        return [(row.called(text.percent(row.best)), row.id) for row in self.board.trained()]


def _views(offer: Offer, group: str) -> list[tuple[str, str]]:
    return [(title, name) for title, name in offer["views"] if name in offer["groups"][group]]


def _empty(has_run: bool) -> str:
    return '<div class="kd-empty">Choose a run.</div>' if has_run else boxes.NO_NETWORK
