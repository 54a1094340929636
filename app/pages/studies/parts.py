"""The components of the Studies page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app.pages.studies import form
from app.pages.studies.display import FIGURES
from app.theme import ASSETS
from kdengine.workspace import Workspace

TABLE_JS = (ASSETS / "trials_table.js").read_text()


@dataclass(eq=False)
class Parts:
    """Every component that events read or write.

    Attributes:
        form: the controls of a new study by name.
        seen: marks of what this open page shows of the chosen study, by part.
        tab: the kind of figure whose tab is open.
    """

    form: form.Controls = field(default_factory=dict)
    new: Any = None
    begin: Any = None
    estimate: Any = None
    cost: Any = None
    problems: Any = None
    command: Any = None
    chosen: Any = None
    state: Any = None
    refused: Any = None
    after: Any = None
    now: Any = None
    most: Any = None
    resume: Any = None
    seeds: Any = None
    confirm: Any = None
    promote: Any = None
    hand: Any = None
    add: Any = None
    details: Any = None
    confirmed: Any = None
    table: Any = None
    x: Any = None
    y: Any = None
    seen: Any = None
    tab: Any = None
    tabs: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, list[Any]]:
        """What is updated together, by the names of `display.COUNTS`."""
        actions = [self.after, self.now, self.most, self.resume, self.seeds, self.confirm, self.promote, self.details]
        return {
            "state": [self.state],
            "actions": actions,
            "confirmed": [self.confirmed],
            "table": [self.table],
            "pair": [self.x, self.y],
            **{kind: [plot] for kind, plot in self.plots.items()},
        }


def draw(workspace: Workspace) -> Parts:
    """Draws all components into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Studies</h1><p class="kd-lead">Which hyper-parameters are best, and is the gain real? '
        "Optuna searches; fresh seeds confirm.</p>"
    )
    parts = Parts()
    none_yet = not workspace.studies_db.exists()
    with gr.Accordion("New study", open=none_yet, elem_classes="card", elem_id="studies-new") as parts.new:
        _draw_new(parts, workspace)
    with gr.Column(elem_classes="card"):
        _draw_results(parts)
    parts.seen = gr.State({})
    parts.tab = gr.State("history")
    return parts


def _draw_new(parts: Parts, workspace: Workspace) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            parts.form = form.draw(workspace)
        with gr.Column(scale=4, min_width=320):
            with gr.Row():
                parts.begin = gr.Button("Start", variant="primary", elem_id="studies-begin", scale=3)
                parts.estimate = gr.Button("Estimate time", elem_id="studies-estimate", scale=1, min_width=100)
            parts.cost = gr.HTML("", elem_id="studies-cost")
            parts.problems = gr.HTML("", elem_id="studies-problems")
            parts.command = gr.Code(
                language="shell", show_label=False, interactive=False, wrap_lines=True, show_line_numbers=False,
                elem_id="studies-command",
            )  # fmt: skip


def _draw_results(parts: Parts) -> None:
    parts.chosen = gr.Dropdown([], label="Study", elem_id="studies-chosen", allow_custom_value=False)
    parts.state = gr.HTML('<div class="kd-empty">Loading…</div>', elem_id="studies-state")
    with gr.Row(elem_classes="kd-actions"):
        hidden: dict[str, Any] = {"visible": False, "size": "sm"}
        parts.after = gr.Button("Stop after current", elem_id="studies-after", min_width=130, **hidden)
        parts.now = gr.Button("Stop now", elem_id="studies-stop", min_width=90, **hidden)
        parts.most = gr.Number(label="Total trials", precision=0, visible=False, elem_id="studies-most", min_width=90)
        parts.resume = gr.Button("Resume", elem_id="studies-resume", min_width=90, **hidden)
        parts.seeds = gr.Number(
            5, label="Fresh seeds", precision=0, visible=False, elem_id="studies-fresh", min_width=90
        )
        parts.confirm = gr.Button(
            "Confirm on fresh seeds", elem_id="studies-confirm", min_width=170, variant="primary", **hidden
        )
        parts.promote = gr.Button("Promote to Launch", elem_id="studies-promote", min_width=140, **hidden)
    parts.refused = gr.HTML("", elem_id="studies-refused")
    parts.confirmed = gr.HTML("", elem_id="studies-confirmed", apply_default_css=False)
    with gr.Column(visible=False) as parts.details:
        _draw_details(parts)


def _draw_details(parts: Parts) -> None:
    with gr.Tabs(elem_id="studies-figures"):
        for kind, title in FIGURES.items():
            with gr.Tab(title, id=kind) as parts.tabs[kind]:
                if kind == "contour":
                    with gr.Row():
                        parts.x = gr.Dropdown([], label="x axis", elem_id="studies-x", min_width=140)
                        parts.y = gr.Dropdown([], label="y axis", elem_id="studies-y", min_width=140)
                parts.plots[kind] = gr.Plot(show_label=False, container=False, elem_id=f"studies-{kind}")
    parts.table = gr.HTML("", js_on_load=TABLE_JS, elem_id="studies-table", apply_default_css=False)
    with gr.Row(elem_classes="kd-actions"):
        parts.hand = gr.Textbox(
            label="Add a trial by hand", placeholder="method.temperature=2", elem_id="studies-hand", scale=4,
            info="Runs before the sampler's next trial; the sampler chooses the values that you leave out.",
        )  # fmt: skip
        parts.add = gr.Button("Add", size="sm", elem_id="studies-add", min_width=80, scale=0)
