"""The left side of the Studies page: the controls of a new study."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import catalog
from app.pages.studies.form_values import COMMON, DEFAULTS, OBJECTIVES, PRUNERS, SAMPLERS
from app.theme import ASSETS
from kdengine.workspace import Workspace
from studies import ready_made

SPACE = (
    '<div class="kd-tablebox"><table class="kd-table"><thead><tr><th>Search</th><th>Setting</th><th>Value</th>'
    "<th>Range</th></tr></thead><tbody></tbody></table></div>"
)
SPACE_JS = (ASSETS / "space_table.js").read_text()

Controls = dict[str, Any]
"""Components by name."""


def draw(workspace: Workspace) -> Controls:
    """Draws the controls into the current Gradio context; all of them by name."""
    form: Controls = {}
    _draw_experiment(form, workspace)
    _draw_space(form)
    _draw_more(form)
    return form


def _draw_experiment(form: Controls, workspace: Workspace) -> None:
    with gr.Row():
        form["ready"] = gr.Dropdown(
            [("empty form", ""), *((name, name) for name in ready_made.names())], value="", label="Start from",
            info="A ready-made study fills in the whole form.", elem_id="studies-ready", min_width=140,
        )  # fmt: skip
        form["name"] = gr.Textbox(
            "first", label="Name", info="Letters, digits, '.', '_', '-'.", elem_id="studies-name", min_width=140
        )
    with gr.Row():
        form["data"] = gr.Dropdown(
            catalog.datasets(workspace), value=DEFAULTS["data"], label="Data", elem_id="studies-data", min_width=140
        )
        form["per_class"] = gr.Textbox(
            "", label="Images per class", placeholder="all", elem_id="studies-per-class", min_width=140
        )
    with gr.Row():
        form["teacher"] = gr.Dropdown(
            catalog.teachers(workspace, {"name": DEFAULTS["data"]}), value=DEFAULTS["teacher"], label="Teacher",
            allow_custom_value=True, elem_id="studies-teacher", min_width=140,
        )  # fmt: skip
        form["student"] = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], label="Student", allow_custom_value=True,
            elem_id="studies-student", min_width=140,
        )  # fmt: skip
    with gr.Row():
        form["method"] = gr.Dropdown(
            [(title, name) for title, name in catalog.methods() if name != "none"], value=DEFAULTS["method"],
            label="Method", elem_id="studies-method", min_width=140,
        )  # fmt: skip
        form["epochs"] = gr.Number(12, label="Epochs", precision=0, elem_id="studies-epochs", min_width=140)


def _draw_space(form: Controls) -> None:
    form["space"] = gr.HTML(
        [], html_template=SPACE, js_on_load=SPACE_JS, elem_id="studies-space", apply_default_css=False
    )
    gr.HTML(
        '<p class="kd-facts">Tick the hyper-parameters to search. A range is <code>1..10</code>, '
        "<code>0.1..5, log</code> or <code>a, b</code>. The others keep their value.</p>"
    )
    with gr.Row():
        form["trials"] = gr.Number(20, label="Trials", precision=0, elem_id="studies-trials", min_width=80)
        form["hours"] = gr.Textbox("", label="Hours", placeholder="no limit", elem_id="studies-hours", min_width=80)
        form["seeds"] = gr.Number(1, label="Seeds per trial", precision=0, elem_id="studies-seeds", min_width=80)


def _draw_more(form: Controls) -> None:
    with gr.Accordion("Objective, sampler, pruning, other settings", open=False):
        form["metrics"] = gr.Dropdown(
            [(word, name) for name, word in OBJECTIVES.items()], value=["accuracy"], multiselect=True,
            label="Objectives", elem_id="studies-goals",
            info="With several, the Pareto front is searched and no trial is pruned; the first decides which is best.",
        )  # fmt: skip
        with gr.Row():
            form["sampler"] = gr.Dropdown(
                [(word, name) for name, word in SAMPLERS.items()], value="tpe", label="Sampler",
                elem_id="studies-sampler", min_width=140,
            )  # fmt: skip
            form["pruner"] = gr.Dropdown(
                [(word, name) for name, word in PRUNERS.items()], value="median", label="Pruning",
                elem_id="studies-pruner", min_width=140,
            )  # fmt: skip
        with gr.Row():
            form["startup"] = gr.Number(
                COMMON["startup"], label="Start-up trials", info="Random values, never pruned.", precision=0,
                elem_id="studies-startup", min_width=140,
            )  # fmt: skip
            form["patience"] = gr.Number(
                COMMON["patience"], label="Patience (epochs)", info="No trial is pruned before.", precision=0,
                elem_id="studies-patience", min_width=140,
            )  # fmt: skip
        form["settings"] = gr.Textbox(
            "", label="Other settings", lines=2, info="For all trials, one per line, e.g. recipe.lr=0.02",
            elem_id="studies-settings",
        )  # fmt: skip
