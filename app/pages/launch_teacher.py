"""The panel "Own teacher" on the Launch page: upload weights, see what they know of the data, mend, use."""

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
class Panel:
    """The controls of the panel; ``made`` holds the name of the last import."""

    file: Any
    model: Any
    name: Any
    classes: Any
    mean: Any
    std: Any
    begin: Any
    mend: Any
    outcome: Any
    made: Any


def build() -> Panel:
    """Draws the panel into the current Gradio context."""
    with gr.Accordion("Own teacher", open=False, elem_id="own-teacher"):
        file = gr.File(label="weights as safetensors", height=90, elem_id="upload-teacher")
        model = gr.Dropdown(
            [*FAMILIES, *MODELS.names()], value=None, label="Architecture", allow_custom_value=True,
            info="Of the catalog, timm/… or torchvision/…; the last two without a file: published weights.",
            elem_id="own-teacher-model",
        )  # fmt: skip
        name = gr.Textbox("", label="Name", placeholder="my-teacher", elem_id="own-teacher-name")
        classes = gr.Textbox(
            "", label="Class names", lines=2, info="One a line, in the order of its outputs; may stay empty.",
            elem_id="own-teacher-classes",
        )  # fmt: skip
        with gr.Row():
            mean = gr.Textbox("", label="Mean", placeholder="0.485, 0.456, 0.406", min_width=90)
            std = gr.Textbox("", label="Std", placeholder="0.229, 0.224, 0.225", min_width=90)
        with gr.Row():
            begin = gr.Button("Import", size="sm", elem_id="own-teacher-import")
            mend = gr.Button("Store what was found", size="sm", visible=False, elem_id="own-teacher-mend")
        outcome = gr.HTML("", elem_id="own-teacher-outcome")
        made = gr.State("")
    return Panel(file, model, name, classes, mean, std, begin, mend, outcome, made)


def wire(panel: Panel, workspace: Workspace, worker: Worker, data: Any, size: Any, teacher: Any) -> Any:
    """Connects the panel with the form's data, picture size and teacher.

    Returns:
        The event of a mended teacher: what was said against it before must be looked at again.
    """
    hidden = gr.update(visible=False)

    def bring_in(
        path: str | None, model: str | None, name: str, classes: str, mean: str, std: str, choice: str, px: float | None
    ) -> list[Any]:
        request = {
            "path": path, "model": model or "", "name": name.strip(), "classes": classes, "mean": mean, "std": std,
            "image_size": int(px or 0),
        }  # fmt: skip
        try:
            imported = worker.call("import_teacher", request)
        except KdError as error:
            return [gr.skip(), boxes.error(error), hidden, ""]
        return _looked_at(workspace, worker, imported, choice)

    def mend(name: str, choice: str) -> list[Any]:
        try:
            found = worker.call("check_teacher", name, catalog.data_mapping(workspace, choice), True)
        except KdError as error:
            return [gr.skip(), boxes.error(error), hidden, name]
        return [_offer(workspace, choice, name), _said(name, found), hidden, name]

    fields = [panel.file, panel.model, panel.name, panel.classes, panel.mean, panel.std, data, size]
    shown = [teacher, panel.outcome, panel.mend, panel.made]
    waiting = {"fn": lambda: boxes.note("Reading…"), "inputs": None, "outputs": panel.outcome, **QUIET}
    panel.begin.click(**waiting).then(bring_in, fields, shown, **QUIET)
    return panel.mend.click(**waiting).then(mend, [panel.made, data], shown, **QUIET)


def _looked_at(workspace: Workspace, worker: Worker, imported: dict[str, Any], choice: str) -> list[Any]:
    name = imported["name"]
    offer = _offer(workspace, choice, name)
    try:
        found = worker.call("check_teacher", name, catalog.data_mapping(workspace, choice), False)
    except KdError as error:
        return [offer, _said(name, imported) + boxes.error(error), gr.update(visible=False), name]
    both = {"lines": [*imported["lines"], *found["lines"]]}
    return [offer, _said(name, both), gr.update(visible=found["mendable"]), name]


def _offer(workspace: Workspace, choice: str, name: str) -> Any:
    return gr.update(choices=catalog.teachers_for(workspace, choice), value=catalog.imported_choice(name))


def _said(name: str, found: dict[str, Any]) -> str:
    return boxes.notes(f"<b>{text.escape(name)}</b> is imported.", found["lines"])
