"""The event handlers of the Studies page's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import boxes, catalog
from app.events import Query
from app.pages.studies import form_values
from app.pages.studies.board import StudyBoard
from app.worker import Workers
from kdengine.errors import KdError
from kdengine.spec import ExperimentSpec
from studies import ready_made


class FormHandlers:
    """Every method takes plain values and returns what the components show; ``values`` are those of all controls.

    Args:
        names: of the controls, in the order in which their values come.
        board: what is known of the studies.
        workers: who computes.
    """

    def __init__(self, names: Sequence[str], board: StudyBoard, workers: Workers) -> None:
        self.names = list(names)
        self.board = board
        self.workspace = board.workspace
        self.workers = workers

    def show_command(self, *values: Any) -> str:
        """The command for a shell."""
        return form_values.command(self._filled(values))

    def offer_rows(self, *values: Any) -> list[Any]:
        """The rows of the search space as the method has them first, whether a teacher is used, and what is wrong."""
        return self._rows(values, fresh=True)

    def keep_rows(self, *values: Any) -> list[Any]:
        """The same, with the ticks and ranges that a person gave them."""
        return self._rows(values, fresh=False)

    def first_rows(self, *values: Any) -> list[Any]:
        """Rows and teacher alone: the message about a wrong address stays."""
        return self._rows(values, fresh=True)[:2]

    def fill(self, name: str) -> list[Any]:
        """Every control as a ready study has it."""
        if name not in ready_made.names():
            return [gr.skip()] * len(self.names)
        filled: dict[str, Any] = {"ready": gr.skip()} | form_values.ready(self.workspace, name)
        needs = catalog.may_need_teacher(filled["method"])
        filled["teacher"] = gr.update(value=filled["teacher"], interactive=needs)
        return [filled[key] for key in self.names]

    def arrive(self, query: Query) -> list[Any]:
        """The form as it stands, or filled with the experiment that the address holds: Launch sends it."""
        given = query.get("spec")
        filled: dict[str, Any] = {}
        refused = ""
        try:
            filled = form_values.of_spec(self.workspace, ExperimentSpec.from_yaml(given)) if given else {}
        except KdError as error:
            refused = boxes.error(error)
        data = filled.get("data", form_values.DEFAULTS["data"])
        choices = {
            "data": catalog.with_choice(catalog.datasets(self.workspace), data),
            "teacher": catalog.teachers_for(self.workspace, data),
        }
        values = {key: {"value": filled[key]} if filled else {} for key in choices}
        shown = {key: gr.update(choices=choices[key], **values[key]) for key in choices}
        return [shown.get(key, filled.get(key, gr.skip())) for key in self.names] + [refused]

    def offer_teachers(self, choice: str) -> Any:
        """The teachers for these data; what was chosen stays chosen."""
        return gr.update(choices=catalog.teachers_for(self.workspace, choice))

    def choose_objectives(self, objectives: list[str]) -> Any:
        """The pruner: with several objectives no trial can be pruned."""
        return "none" if len(objectives) > 1 else gr.skip()

    def start(self, *values: Any) -> list[Any]:
        """Begins the study and chooses it, or says what is wrong."""
        try:
            name = self.workers.acting.call(
                "begin_study", form_values.plan_mapping(self.workspace, self._filled(values))
            )
        except KdError as error:
            return [boxes.error(error), gr.skip(), gr.skip()]
        return ["", gr.update(choices=self.board.names(), value=name), gr.update(open=False)]

    def measure(self, *values: Any) -> list[Any]:
        """How long the study will take, or what is wrong."""
        filled = self._filled(values)
        try:
            spec = ExperimentSpec.from_mapping(form_values.experiment(self.workspace, filled))
            return [form_values.estimate(self.workers.measuring.call("forecast", spec.to_yaml()), filled), ""]
        except KdError as error:
            return ["", boxes.error(error)]

    def _rows(self, values: tuple[Any, ...], fresh: bool) -> list[Any]:
        filled = self._filled(values)
        needs = gr.update(interactive=catalog.may_need_teacher(filled["method"]))
        try:
            rows = form_values.rows_of(self.workspace, filled)
        except KdError as error:
            return [gr.skip(), needs, boxes.error(error)]
        return [rows if fresh else form_values.kept(rows, filled["space"]), needs, ""]

    def _filled(self, values: tuple[Any, ...]) -> form_values.Filled:
        return dict(zip(self.names, values, strict=True))
