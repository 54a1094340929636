"""The event handlers of the Demo page."""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from app import boxes, text
from app.board import Board, Row
from app.events import Query
from app.pages.demo import alone, examples
from app.pages.demo.predictions import cards, empty
from app.worker import Worker
from kdengine.errors import KdError

MAX_STUDENTS = 4
MANY = 1_000_000  # test images are drawn by a number below it, which wraps around

HEADING = '<h1 class="kd">Demo</h1><p class="kd-lead">How does it do on my image?</p>'

Choices = list[tuple[str, str]]


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        board: what is known of the runs.
        worker: runs the networks.
    """

    def __init__(self, board: Board, worker: Worker) -> None:
        self.board = board
        self.worker = worker

    def choices(self) -> Choices:
        """Runs that have a trained network, as (label, id)."""
        return [(row.called(_accuracy(row)), row.id) for row in self.board.trained()]

    def arrive(self, query: Query) -> list[Any]:
        """The students that the address names, the newest without a name; a missing one is reported, not replaced.

        Returns:
            Heading, students, the message on what is missing, examples, the link to the page alone, whether this is
            that, and whether many images can be classified.
        """
        only = "only" in query
        rows = {row.id: row for row in self.board.trained()}
        wanted = [run for run in str(query.get("run", "")).split(",") if run]
        missing = boxes.without_network([run for run in wanted if run not in rows])
        chosen = [run for run in wanted if run in rows][:MAX_STUDENTS] if wanted else list(rows)[:1]
        names = " and ".join(rows[run].title or f"{rows[run].student} on {rows[run].dataset}" for run in chosen)
        return [
            alone.heading(names or "Demo") if only else HEADING,
            gr.update(choices=self.choices(), value=chosen, visible=not only),
            missing,
            self.examples(chosen),
            "" if only else alone.link(chosen),
            only,
            gr.update(visible=not only),
        ]

    def choose(self, run_ids: list[str] | None) -> list[Any]:
        """What goes with the chosen students: the message on missing ones, gone; examples, and the link to them."""
        return ["", self.examples(run_ids), alone.link(run_ids)]

    def examples(self, run_ids: list[str] | None) -> str:
        """Images of the first student's data."""
        if not run_ids:
            return examples.NONE
        try:
            return examples.strip(self.worker.call("examples", run_ids[0]))
        except KdError as error:
            return examples.refused(error)

    def classify(
        self, run_ids: list[str] | None, path: str | None, label: str, overlay: bool, only: bool = False
    ) -> str:
        """What students and teachers predict for an image.

        Args:
            run_ids: of the students.
            path: of the image file; None without one.
            label: its true class, "" where nobody knows it.
            overlay: whether to show the class activation map of each.
            only: whether to leave the teachers out.
        """
        if not run_ids or path is None:
            return empty(bool(run_ids) or bool(self.choices()))
        try:
            return cards(self.worker.call("classify", run_ids, path, overlay, only), label)
        except KdError as error:
            return boxes.refusal(error)

    def draw_sample(self, run_ids: list[str] | None) -> tuple[Any, Any]:
        """Any image of the first student's test set, and its class."""
        return self.take_example(run_ids, random.randrange(MANY))

    def take_example(self, run_ids: list[str] | None, number: int) -> tuple[Any, Any]:
        """An image of the first student's test set by its number, and its class."""
        if not run_ids:
            return gr.skip(), gr.skip()
        try:
            image, label = self.worker.call("test_image", run_ids[0], number)
        except KdError as error:
            gr.Warning(str(error))
            return gr.skip(), gr.skip()
        return image, label


def _accuracy(row: Row) -> str:
    if row.test is not None:
        return f"{text.percent(row.test)} on test"
    return f"{text.percent(row.best)} on validation so far"
