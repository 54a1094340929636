"""The panel "Own teacher" on the Launch page: upload weights, test them on the data, correct and use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import boxes, catalog, text
from app.events import QUIET
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.registry import MODELS
from kdengine.workspace import Workspace

FAMILIES = ("timm/resnet18", "timm/convnext_tiny", "torchvision/resnet34", "torchvision/resnet50")


@dataclass(eq=False)
class OwnTeacherPanel:
    """The components; ``made`` holds the name of the last import."""

    box: Any
    file: Any
    model: Any
    name: Any
    classes: Any
    mean: Any
    std: Any
    begin: Any
    correct: Any
    outcome: Any
    made: Any


def draw() -> OwnTeacherPanel:
    """Draws them into the current Gradio context."""
    with gr.Accordion("Own teacher", open=False, elem_id="own-teacher") as box:
        file = gr.File(label="Weights (safetensors)", height=90, elem_id="upload-teacher")
        model = gr.Dropdown(
            [*FAMILIES, *MODELS.names()], value=None, label="Architecture", allow_custom_value=True,
            info="From the catalog, timm/… or torchvision/…; those two use published weights if there is no file.",
            elem_id="own-teacher-model",
        )  # fmt: skip
        name = gr.Textbox("", label="Name", placeholder="my-teacher", elem_id="own-teacher-name")
        classes = gr.Textbox(
            "", label="Class names", lines=2, info="One per line, in output order; optional.",
            elem_id="own-teacher-classes",
        )  # fmt: skip
        with gr.Row():
            mean = gr.Textbox("", label="Mean", placeholder="0.485, 0.456, 0.406", min_width=90)
            std = gr.Textbox("", label="Std", placeholder="0.229, 0.224, 0.225", min_width=90)
        with gr.Row():
            begin = gr.Button("Import", size="sm", elem_id="own-teacher-import")
            correct = gr.Button("Store the corrections", size="sm", visible=False, elem_id="own-teacher-mend")
        outcome = gr.HTML("", elem_id="own-teacher-outcome")
        made = gr.State("")
    return OwnTeacherPanel(box, file, model, name, classes, mean, std, begin, correct, outcome, made)


def wire(parts: OwnTeacherPanel, handlers: OwnTeacherHandlers, data: Any, size: Any, teacher: Any) -> Any:
    """Connects components and handlers with the form's data, image size and teacher.

    Returns:
        The event of a corrected teacher: what was found wrong with it before must be checked again.
    """
    fields = [parts.file, parts.model, parts.name, parts.classes, parts.mean, parts.std, data, size]
    shown = [teacher, parts.outcome, parts.correct, parts.made]
    waiting = {"fn": lambda: boxes.note("Loading…"), "inputs": None, "outputs": parts.outcome, **QUIET}
    parts.begin.click(**waiting).then(handlers.import_weights, fields, shown, **QUIET)
    return parts.correct.click(**waiting).then(handlers.store, [parts.made, data], shown, **QUIET)


class OwnTeacherHandlers:
    """Every method returns the form's teacher, words, the button that stores what was found, and the import's name.

    Args:
        workspace: where teachers are kept.
        worker: reads weights and tests them.
    """

    def __init__(self, workspace: Workspace, worker: Worker) -> None:
        self.workspace = workspace
        self.worker = worker

    def import_weights(
        self, path: str | None, model: str | None, name: str, classes: str, mean: str, std: str, choice: str,
        px: float | None,
    ) -> list[Any]:  # fmt: skip
        """Keeps uploaded weights, or published ones without a file, and tries them on the data.

        Args:
            path: of the uploaded file.
            model: architecture.
            name: of the teacher to be.
            classes: one a line; may be empty.
            mean: three numbers by commas; may be empty.
            std: the same.
            choice: of data.
            px: image size.
        """
        request = {
            "path": path, "model": model or "", "name": name.strip(), "classes": classes, "mean": mean, "std": std,
            "image_size": int(px or 0),
        }  # fmt: skip
        try:
            imported = self.worker.call("import_teacher", request)
        except KdError as error:
            return [gr.skip(), boxes.error(error), gr.update(visible=False), ""]
        return self._checked(imported, choice)

    def store(self, name: str, choice: str) -> list[Any]:
        """Stores what was found of an import: its classes, its normalisation."""
        hidden = gr.update(visible=False)
        try:
            found = self.worker.call("check_teacher", name, catalog.data_mapping(self.workspace, choice), True)
        except KdError as error:
            return [gr.skip(), boxes.error(error), hidden, name]
        return [_offer(self.workspace, choice, name), _said(name, found), hidden, name]

    def _checked(self, imported: dict[str, Any], choice: str) -> list[Any]:
        name = imported["name"]
        offer = _offer(self.workspace, choice, name)
        try:
            found = self.worker.call("check_teacher", name, catalog.data_mapping(self.workspace, choice), False)
        except KdError as error:
            return [offer, _said(name, imported) + boxes.error(error), gr.update(visible=False), name]
        both = {"lines": [*imported["lines"], *found["lines"]]}
        return [offer, _said(name, both), gr.update(visible=found["fixable"]), name]


def _offer(workspace: Workspace, choice: str, name: str) -> Any:
    return gr.update(choices=catalog.teachers_for(workspace, choice), value=catalog.imported_choice(name))


def _said(name: str, found: dict[str, Any]) -> str:
    return boxes.notes(f"<b>{text.escape(name)}</b> is imported.", found["lines"])
