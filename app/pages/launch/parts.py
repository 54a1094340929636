"""The components of the Launch page around its form: cards, cost, and what is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import boxes, catalog, network_chooser
from app.pages.launch import cards, changed, chooser, problems, settings, teacher, upload
from app.pages.launch.form import DEFAULTS, NOTHING_FOUND, Form


@dataclass(eq=False)
class Parts:
    """Every component that events read or write; the requested experiment is in the form.

    Attributes:
        launched: the id of the run that was launched, for the browser to go there.
    """

    form: Form
    arrival: Any = None
    data_facts: Any = None
    upload: Any = None
    teacher_search: Any = None
    teacher_facts: Any = None
    own_teacher: Any = None
    student_search: Any = None
    student_facts: Any = None
    methods: Any = None
    method_costs: Any = None
    method_facts: Any = None
    method_page: Any = None
    method_text: Any = None
    cost: Any = None
    compiling: Any = None
    measure: Any = None
    compile: Any = None
    launch: Any = None
    tune: Any = None
    problems: Any = None
    changed: Any = None
    command: Any = None
    yaml: Any = None
    python: Any = None
    launched: Any = None


def draw(form: Form) -> Parts:
    """Draws all components into the current Gradio context; those of the form are put into it."""
    parts = Parts(form)
    with gr.Row(elem_id="launch-columns"):
        with gr.Column(scale=7, min_width=320):
            gr.HTML('<h1 class="kd">Launch</h1><p class="kd-lead">Pick data, teacher, student and method.</p>')
            parts.arrival = gr.HTML("", elem_id="arrival")
            with gr.Row(equal_height=True):
                _draw_data(parts)
                _draw_teacher(parts)
            with gr.Row(equal_height=True):
                _draw_student(parts)
                _draw_method(parts)
            settings.draw(form)
        with gr.Column(scale=4, min_width=320, elem_classes="card", elem_id="launch-side"):
            _draw_cost(parts)
            _draw_launch(parts)
    form.token = gr.State("")
    parts.launched = gr.Textbox(visible="hidden")
    form.found = gr.State(NOTHING_FOUND)
    return parts


def _draw_data(parts: Parts) -> None:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<h2 class="kd-head">Data</h2>')
        parts.form.data = gr.Dropdown(
            catalog.datasets(parts.form.workspace), value=DEFAULTS["data"], label="Data", show_label=False,
            elem_id="field-data",
        )  # fmt: skip
        parts.data_facts = gr.HTML(boxes.note("Reading…"), elem_id="data-facts")
        parts.upload = upload.draw()


def _draw_teacher(parts: Parts) -> None:
    with gr.Column(elem_classes="card", min_width=240, elem_id="teacher-card"):
        gr.HTML('<h2 class="kd-head">Teacher</h2>')
        choices = catalog.teachers(parts.form.workspace, {"name": DEFAULTS["data"]})
        parts.form.teacher = gr.Dropdown(
            choices, value=DEFAULTS["teacher"], label="Teacher", show_label=False, allow_custom_value=True,
            elem_id="field-teacher",
        )  # fmt: skip
        parts.teacher_search = network_chooser.draw("teacher")
        facts = cards.teacher_facts(parts.form.workspace, DEFAULTS["teacher"], needed=True)
        parts.teacher_facts = gr.HTML(facts, elem_id="teacher-facts")
        parts.own_teacher = teacher.draw()


def _draw_student(parts: Parts) -> None:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<h2 class="kd-head">Student</h2>')
        parts.form.student = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], label="Student", show_label=False,
            allow_custom_value=True, elem_id="field-student-name",
        )  # fmt: skip
        parts.student_search = network_chooser.draw("student")
        parts.student_facts = gr.HTML(cards.student_facts(DEFAULTS["student"]), elem_id="student-facts")


def _draw_method(parts: Parts) -> None:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<h2 class="kd-head">Method</h2>')
        parts.form.method = gr.Dropdown(
            catalog.methods(), value=DEFAULTS["method"], label="Method", show_label=False, elem_id="field-method-name"
        )
        parts.methods, parts.method_costs = chooser.draw()
        parts.method_facts = gr.HTML(cards.method_facts(DEFAULTS["method"]), elem_id="method-facts")
        with gr.Accordion("How it works", open=False, elem_id="method-page") as parts.method_page:
            parts.method_text = gr.Markdown(
                cards.method_page(DEFAULTS["method"]), latex_delimiters=cards.LATEX, elem_classes="kd-document"
            )


def _draw_cost(parts: Parts) -> None:
    gr.HTML('<h2 class="kd-head">Cost</h2>')
    parts.cost = gr.HTML(cards.waiting(), elem_id="forecast")
    parts.compiling = gr.HTML("", elem_id="compiling")
    with gr.Row():
        parts.measure = gr.Button("Measure torch.compile", size="sm", elem_id="measure-compiling", min_width=120)
        parts.compile = gr.Button("Use torch.compile", size="sm", visible=False, elem_id="set-compile", min_width=120)


def _draw_launch(parts: Parts) -> None:
    parts.problems = problems.draw()
    parts.changed = changed.draw()
    with gr.Row(elem_id="launch-buttons"):
        parts.form.seeds = gr.Number(1, label="Seeds", precision=0, scale=1, min_width=80, elem_id="seeds")
        parts.launch = gr.Button("Launch", variant="primary", elem_id="launch", scale=3, min_width=120)
        parts.tune = gr.Button("Tune", elem_id="tune", scale=1, min_width=80)
    code: dict[str, Any] = {"show_label": False, "interactive": False, "show_line_numbers": False}
    with gr.Tabs():
        with gr.Tab("Command"):
            parts.command = gr.Code(language="shell", wrap_lines=True, elem_id="command", **code)
        with gr.Tab("YAML"):
            parts.yaml = gr.Code(language="yaml", max_lines=18, elem_id="yaml", **code)
        with gr.Tab("Python"):
            parts.python = gr.Code(language="python", max_lines=18, elem_id="python", **code)
