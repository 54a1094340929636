"""The controls for what several methods share, data, teacher and student: on Compare and on Race."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import catalog, forms
from kdengine.spec import with_settings
from kdengine.workspace import Workspace

DEFAULTS = {"data": "digits", "teacher": "resnet8x4", "student": "resnet20"}
NO_TEACHER = ("no teacher", "")

Filled = dict[str, Any]
"""What the controls of a page hold, by name."""


def draw(workspace: Workspace, page: str) -> dict[str, Any]:
    """Draws them into the current Gradio context; by name.

    Args:
        workspace: whose data and teachers are offered.
        page: what the ids of the elements begin with.
    """
    drawn: dict[str, Any] = {}
    with gr.Row():
        drawn["data"] = gr.Dropdown(
            catalog.datasets(workspace), value=DEFAULTS["data"], label="Data", elem_id=f"{page}-data"
        )
        drawn["per_class"] = gr.Textbox(
            "", label="Images per class", placeholder="all", elem_id=f"{page}-per-class", min_width=120
        )
    with gr.Row():
        choices = [NO_TEACHER, *catalog.teachers(workspace, {"name": DEFAULTS["data"]})]
        drawn["teacher"] = gr.Dropdown(
            choices, value=DEFAULTS["teacher"], label="Teacher", allow_custom_value=True, elem_id=f"{page}-teacher"
        )
        drawn["student"] = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], label="Student", allow_custom_value=True,
            elem_id=f"{page}-student",
        )  # fmt: skip
    return drawn


def experiment(workspace: Workspace, filled: Filled) -> dict[str, Any]:
    """The experiment that all share, as a mapping, with ``epochs`` and ``settings`` of the same page.

    Raises:
        BadInput: a line of the settings is none.
    """
    data = catalog.data_mapping(workspace, filled["data"])
    if filled["per_class"]:
        data["per_class"] = filled["per_class"].strip()
    mapping = {"data": data, "student": filled["student"], "recipe": {"epochs": int(filled["epochs"] or 1)}}
    mapping |= {"teacher": filled["teacher"]} if filled["teacher"] else {}
    return with_settings(mapping, forms.lines(filled["settings"]))


def words(filled: Filled) -> list[str]:
    """The same as words of a shell command."""
    found = ["--dataset", catalog.dataset_word(filled["data"])]
    if filled["teacher"]:
        found += ["--teacher", filled["teacher"]]
    found += ["--student", filled["student"] or "", "--epochs", str(int(filled["epochs"] or 1))]
    if filled["per_class"]:
        found += ["--set", f"data.per_class={filled['per_class'].strip()}"]
    return found + [word for line in forms.lines(filled["settings"]) for word in ("--set", line)]


def offered_teachers(workspace: Workspace, choice: str) -> Any:
    """The teachers for these data, as an update; what was chosen stays chosen."""
    return gr.update(choices=[NO_TEACHER, *catalog.teachers_for(workspace, choice)])
