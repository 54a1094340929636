"""The components of the Compare page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app.pages.compare import form
from app.pages.compare.handlers import NOTHING_MEASURED
from kdengine.comparison.stored_plans import list_plans
from kdengine.comparison.tables import FORMATS
from kdengine.workspace import Workspace


@dataclass(eq=False)
class Parts:
    """Every component that events read or write.

    Attributes:
        form: the controls of a new comparison by name.
        measured: what its runs will take, and of which plan that was measured.
        seen: a mark of what this open page shows of the chosen comparison.
    """

    form: dict[str, Any] = field(default_factory=dict)
    begin: Any = None
    cost: Any = None
    problems: Any = None
    command: Any = None
    new: Any = None
    measured: Any = None
    chosen: Any = None
    refused: Any = None
    state: Any = None
    resume: Any = None
    halt: Any = None
    files: list[Any] = field(default_factory=list)
    gains: Any = None
    all_columns: Any = None
    table: Any = None
    extend: Any = None
    seeds: Any = None
    methods: Any = None
    add: Any = None
    seen: Any = None

    @property
    def shown(self) -> list[Any]:
        """What `state.shown` returns."""
        return [self.state, self.resume, self.halt, *self.files, self.gains, self.table, self.all_columns, self.extend]


def draw(workspace: Workspace) -> Parts:
    """Draws all components into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Compare</h1><p class="kd-lead">Which method helps, and is the gain reliable? Every method '
        "with the same recipe and seeds; the student alone is always the baseline.</p>"
    )
    parts = Parts()
    plans = list_plans(workspace)
    with gr.Accordion("New comparison", open=not plans, elem_classes="card", elem_id="compare-new") as parts.new:
        _draw_new(parts, workspace)
    with gr.Column(elem_classes="card"):
        _draw_results(parts, plans)
    parts.measured = gr.State(NOTHING_MEASURED)
    parts.seen = gr.State("")
    return parts


def _draw_new(parts: Parts, workspace: Workspace) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            parts.form = form.draw(workspace)
        with gr.Column(scale=4, min_width=320, elem_id="compare-side"):
            parts.begin = gr.Button("Compare", variant="primary", elem_id="compare")
            parts.cost = gr.HTML("", elem_id="compare-cost")
            parts.problems = gr.HTML("", elem_id="compare-problems")
            parts.command = gr.Code(
                language="shell", show_label=False, interactive=False, wrap_lines=True, show_line_numbers=False,
                elem_id="compare-command",
            )  # fmt: skip


def _draw_results(parts: Parts, plans: list[str]) -> None:
    with gr.Row(elem_classes="kd-actions"):
        parts.chosen = gr.Dropdown(
            plans, label="Comparison", elem_id="compare-chosen", allow_custom_value=False, min_width=240
        )
        parts.resume = gr.Button("Resume", size="sm", visible=False, elem_id="compare-resume", min_width=80)
        parts.halt = gr.Button("Stop all", size="sm", visible=False, elem_id="compare-stop", min_width=80)
        parts.files = [
            gr.DownloadButton(label, size="sm", visible=False, elem_id=f"compare-{kind}", min_width=72)
            for kind, label in zip(FORMATS, ("CSV", "Markdown", "LaTeX", "HTML", "Figure (SVG)"), strict=True)
        ]
    parts.refused = gr.HTML("", elem_id="compare-refused")
    parts.state = gr.HTML('<div class="kd-empty">Loading…</div>', elem_id="compare-state")
    parts.gains = gr.Plot(show_label=False, container=False, visible=False, elem_id="compare-gains")
    parts.all_columns = gr.Checkbox(
        False, label="All columns", visible=False, container=False, elem_id="compare-all-columns", min_width=120
    )
    parts.table = gr.HTML("", elem_id="compare-table", apply_default_css=False)
    with gr.Accordion("Add seeds or methods", open=False, visible=False, elem_id="compare-extend") as parts.extend:
        _draw_extend(parts)


def _draw_extend(parts: Parts) -> None:
    with gr.Row(elem_classes="kd-actions"):
        parts.seeds = gr.Number(5, label="Seeds in all", precision=0, min_width=100, elem_id="compare-more-seeds")
        parts.methods = gr.Dropdown(
            [], value=[], multiselect=True, label="Further methods", min_width=240, scale=3,
            elem_id="compare-more-methods",
        )  # fmt: skip
        parts.add = gr.Button("Add", size="sm", elem_id="compare-add", min_width=80)
