"""The event handlers of the Launch page's cards: what a choice means, and the usual settings for it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import boxes, catalog
from app.forms import gather
from app.pages.launch import cards
from app.pages.launch.form import Form
from app.worker import Worker
from kdengine.errors import BadInput, KdError
from kdengine.spec.named_recipes import RECIPES


class CardHandlers:
    """Every method takes plain values and returns what the components show.

    Args:
        form: the controls.
        worker: reads the data.
    """

    def __init__(self, form: Form, worker: Worker) -> None:
        self.form = form
        self.workspace = form.workspace
        self.worker = worker

    def show_data(self, choice: str, image_size: float | None, *own: Any) -> str:
        """Sizes and sample images of the chosen data; ``own``: of the controls that one's own images have, in order."""
        try:
            data = catalog.data_mapping(self.workspace, choice, image_size)
            if data["name"] == "folder" and own:
                controls = self.form.own["data", "folder"]
                data |= gather(controls, {c.component: value for c, value in zip(controls, own, strict=True)})["data"]
            return cards.data_facts(self.worker.call("samples", data))
        except KdError as error:
            return boxes.error(error)

    def data_defaults(self, choice: str) -> list[Any]:
        """What a person's choice of data sets: image size and augmentation as usual for them."""
        try:
            entry = catalog.data_definition(choice)
        except BadInput:
            return [gr.skip()] * len(self.form.shared)
        usual = {
            "data.image_size": entry.default_image_size,
            "data.augmentation": "crop_flip" if entry.flip else "crop",
        }
        return [usual.get(control.path, gr.skip()) for control in self.form.shared]

    def show_data_options(self, choice: str) -> list[Any]:
        """The options of the chosen data set alone."""
        return self._only("data", catalog.dataset_word(choice))

    def choose_method(self, method: str, teacher: str) -> list[Any]:
        """What the method is, whether it needs a teacher, and its own settings."""
        needs = catalog.may_need_teacher(method)
        page = cards.method_page(method)
        return [
            cards.method_facts(method),
            gr.update(visible=bool(page)),
            page,
            gr.update(interactive=needs),
            cards.teacher_facts(self.workspace, teacher, needs),
            *self._only("method", method),
        ]

    def choose_teacher(self, teacher: str, method: str) -> str:
        """What the choice of teacher means."""
        return cards.teacher_facts(self.workspace, teacher, catalog.may_need_teacher(method))

    def choose_student(self, student: str) -> list[Any]:
        """What the network is, and its own options."""
        return [cards.student_facts(student), *self._only("student", student)]

    def choose_recipe(self, recipe: str, student: str) -> list[Any]:
        """The numbers of a named recipe."""
        if recipe not in RECIPES:
            return [gr.skip()] * (1 + len(self.form.shared))
        settings = RECIPES[recipe].for_student(student)
        changes = [
            control.to_shown(settings[control.path.split(".")[1]]) if control.path.startswith("recipe.") else gr.skip()
            for control in self.form.shared
        ]
        return [gr.update(info=RECIPES[recipe].summary), *changes]

    def offer_teachers(self, choice: str, image_size: float | None, teacher: str) -> Any:
        """The teachers for these data. What was chosen stays chosen: if it does not fit, that is said at the field."""
        choices = catalog.teachers_for(self.workspace, choice, image_size)
        return gr.update(choices=catalog.with_choice(choices, teacher))

    def _only(self, kind: str, chosen: str) -> list[Any]:
        return [gr.update(visible=name == chosen) for group_kind, name in self.form.groups if group_kind == kind]
