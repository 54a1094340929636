"""The components of the Race page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app import export_panel
from app.pages.race import form
from kdengine.workspace import Workspace
from studies.race.standing import races


@dataclass(eq=False)
class Parts:
    """Every component that events read or write.

    Attributes:
        form: the controls of a new race by name.
        export: the panel that exports the winner.
        winner: id of its run, "" for none.
        seen: a mark of what this open page shows of the chosen race.
    """

    form: dict[str, Any] = field(default_factory=dict)
    new: Any = None
    begin: Any = None
    course: Any = None
    problems: Any = None
    command: Any = None
    chosen: Any = None
    resume: Any = None
    halt: Any = None
    refused: Any = None
    state: Any = None
    export: Any = None
    winner: Any = None
    seen: Any = None

    @property
    def shown(self) -> list[Any]:
        """What `state.shown` returns."""
        return [self.state, self.resume, self.halt, self.export.box, self.winner]


def draw(workspace: Workspace) -> Parts:
    """Draws all components into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Race</h1><p class="kd-lead">Which method is best for my data, teacher and student? All begin, '
        "short runs leave half behind, the rest is tuned, and the best three meet the student alone on fresh seeds.</p>"
    )
    parts = Parts()
    known = races(workspace)
    # The form stands last: folded or not on arrival, it moves nothing.
    with gr.Column(elem_classes="card", elem_id="race-results"):
        _draw_results(parts, known)
    with gr.Accordion("New race", open=not known, elem_classes="card", elem_id="race-new") as parts.new:
        _draw_new(parts, workspace)
    parts.winner = gr.State("")
    parts.seen = gr.State("")
    return parts


def _draw_new(parts: Parts, workspace: Workspace) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320, elem_id="race-form"):
            parts.form = form.draw(workspace)
        with gr.Column(scale=4, min_width=320, elem_id="race-side"):
            # What the form holds at first is told at once: what comes later would push the rest down.
            filled = {name: control.value for name, control in parts.form.items()}
            command, course = form.summary(workspace, filled)
            parts.begin = gr.Button("Race", variant="primary", elem_id="race")
            parts.course = gr.HTML(course, elem_id="race-course")
            parts.problems = gr.HTML("", elem_id="race-problems")
            parts.command = gr.Code(
                command, language="shell", show_label=False, interactive=False, wrap_lines=True,
                show_line_numbers=False, elem_id="race-command",
            )  # fmt: skip


def _draw_results(parts: Parts, known: list[str]) -> None:
    with gr.Row(elem_classes="kd-actions"):
        parts.chosen = gr.Dropdown(known, label="Race", elem_id="race-chosen", allow_custom_value=False, min_width=240)
        parts.resume = gr.Button("Resume", size="sm", visible=False, elem_id="race-resume", min_width=80)
        parts.halt = gr.Button("Stop", size="sm", visible=False, elem_id="race-stop", min_width=80)
    parts.refused = gr.HTML("", elem_id="race-refused")
    parts.state = gr.HTML('<div class="kd-empty">Loading…</div>', elem_id="race-state", apply_default_css=False)
    parts.export = export_panel.draw("Export the first", "race-export")
