"""Launch: what shall I distil, will it work, and what will it cost?"""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import catalog, text
from app.forms import controls_of, draw, is_advanced
from app.pages import launch_cards as cards
from app.pages import launch_events, launch_problems, launch_teacher
from app.pages.launch_form import DEFAULTS, Form
from app.worker import Workers
from kdengine.recipes import RECIPES
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec import DataSpec, ExperimentSpec, RecipeSpec, RuntimeSpec
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    form = Form(workspace)
    gr.HTML(
        '<h1 class="kd">Launch</h1><p class="kd-lead">Pick data, teacher, student and method; see the cost; launch.</p>'
    )
    arrival = gr.HTML("", elem_id="arrival")
    with gr.Row(equal_height=True):
        data_facts, upload, uploaded = _data_card(form, workspace)
        teacher_facts, own_teacher = _teacher_card(form, workspace)
        student_facts = _student_card(form)
        method_facts = _method_card(form)
    _parameters(form)
    _recipe(form)
    _more(form)
    with gr.Row(equal_height=True):
        with gr.Column(elem_classes="card", scale=5, min_width=320):
            gr.HTML('<span class="kd-head">Cost</span>')
            cost = gr.HTML(cards.waiting(), elem_id="forecast")
        with gr.Column(elem_classes="card", scale=6, min_width=320):
            with gr.Row():
                launch = gr.Button("Launch", variant="primary", elem_id="launch", scale=3)
                tune = gr.Button("Tune", elem_id="tune", scale=1, min_width=80)
                form.seeds = gr.Number(
                    1, label="Seeds", info="Runs with consecutive seeds.", precision=0, scale=1,
                    min_width=90, elem_id="seeds",
                )  # fmt: skip
            problems = launch_problems.box()
            with gr.Tabs():
                with gr.Tab("Command"):
                    command = gr.Code(
                        language="shell",
                        show_label=False,
                        interactive=False,
                        wrap_lines=True,
                        show_line_numbers=False,
                        elem_id="command",
                    )
                with gr.Tab("YAML"):
                    yaml = gr.Code(
                        language="yaml",
                        show_label=False,
                        interactive=False,
                        max_lines=18,
                        show_line_numbers=False,
                        elem_id="yaml",
                    )
    form.token = gr.State("")
    launched = gr.Textbox(visible="hidden")
    launch_events.wire(form, workers, page, launch_events.Parts(
        arrival, data_facts, teacher_facts, student_facts, method_facts, upload, uploaded, cost, launch, tune, problems,
        command, yaml, launched,
    ), own_teacher)  # fmt: skip


# drawing ------------------------------------------------------------------------------------------------------------


def _data_card(form: Form, workspace: Workspace) -> tuple[Any, Any, Any]:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<span class="kd-head">Data</span>')
        form.data = gr.Dropdown(
            catalog.datasets(workspace), value=DEFAULTS["data"], label="Data", show_label=False, elem_id="field-data"
        )
        facts = gr.HTML("", elem_id="data-facts")
        with gr.Accordion("My images", open=False, elem_id="own-data"):
            upload = gr.File(
                label="zip or tar: one folder a class, or train/ and test/ with one folder a class each",
                height=90, elem_id="upload-data",
            )  # fmt: skip
            uploaded = gr.HTML("", elem_id="upload-outcome")
    return facts, upload, uploaded


def _teacher_card(form: Form, workspace: Workspace) -> tuple[Any, launch_teacher.Panel]:
    with gr.Column(elem_classes="card", min_width=240, elem_id="teacher-card"):
        gr.HTML('<span class="kd-head">Teacher</span>')
        choices = catalog.teachers(workspace, {"name": DEFAULTS["data"]})
        form.teacher = gr.Dropdown(
            choices, value=DEFAULTS["teacher"], label="Teacher", show_label=False, allow_custom_value=True,
            elem_id="field-teacher",
        )  # fmt: skip
        facts = gr.HTML("", elem_id="teacher-facts")
        return facts, launch_teacher.build()


def _student_card(form: Form) -> Any:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<span class="kd-head">Student</span>')
        form.student = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], label="Student", show_label=False,
            allow_custom_value=True, elem_id="field-student-name",
        )  # fmt: skip
        return gr.HTML("", elem_id="student-facts")


def _method_card(form: Form) -> Any:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<span class="kd-head">Method</span>')
        form.method = gr.Dropdown(
            catalog.methods(), value=DEFAULTS["method"], label="Method", show_label=False, elem_id="field-method-name"
        )
        return gr.HTML("", elem_id="method-facts")


def _parameters(form: Form) -> None:
    """The chosen method's own parameters; one group a method, one of them visible."""
    with gr.Column(elem_classes="card"):
        for name in METHODS.names():
            _group(
                form,
                "method",
                name,
                METHODS.get(name).Params,
                name == DEFAULTS["method"],
                f"Method: {METHODS.get(name).title}",
            )


def _recipe(form: Form) -> None:
    with gr.Column(elem_classes="card"):
        gr.HTML('<span class="kd-head">Recipe</span>')
        settings = RECIPES["quick"].settings
        with gr.Row():
            form.recipe = gr.Dropdown(
                list(RECIPES), value="quick", label="Recipe", info=RECIPES["quick"].summary, min_width=220, scale=2,
                elem_id="field-recipe-name",
            )  # fmt: skip
            for path, info in controls_of(RecipeSpec, "recipe", ("name",)):
                if not is_advanced(info):
                    form.shared.append(draw(path, info, settings[path.split(".")[1]]))
            for path, info in controls_of(DataSpec, "data", ("name", "params")):
                if not is_advanced(info):
                    form.shared.append(draw(path, info, DATASETS.get(DEFAULTS["data"]).default_image_size))
            for path, info in controls_of(
                ExperimentSpec, "", ("data", "teacher", "student", "method", "recipe", "runtime", "title")
            ):
                form.shared.append(draw(path, info))


def _more(form: Form) -> None:
    with gr.Accordion("More", open=False, elem_classes="card", elem_id="more"):
        title = ExperimentSpec.model_fields["title"]
        settings = RECIPES["quick"].settings
        first = {"augmentation": "crop"}
        for heading, model, prefix in (
            ("Training", RecipeSpec, "recipe"),
            ("Data", DataSpec, "data"),
            ("Computing", RuntimeSpec, "runtime"),
        ):
            gr.HTML(f'<span class="kd-head">{heading}</span>')
            with gr.Row():
                for path, info in controls_of(model, prefix, ("name", "params")):
                    if is_advanced(info):
                        value = (
                            settings.get(path.split(".")[1]) if prefix == "recipe" else first.get(path.split(".")[1])
                        )
                        form.shared.append(draw(path, info, value))
                if prefix == "data":
                    form.shared.append(draw("title", title))
        for kind, registry, chosen in (("student", MODELS, DEFAULTS["student"]), ("data", DATASETS, DEFAULTS["data"])):
            for name in registry.names():
                _group(
                    form,
                    kind,
                    name,
                    registry.get(name).Params,
                    name == chosen,
                    f"Options of {name}",
                    leave_out=("path",),
                )


def _group(
    form: Form, kind: str, name: str, params: Any, visible: bool, heading: str, leave_out: tuple[str, ...] = ()
) -> None:
    fields = list(controls_of(params, kind, leave_out))
    if not fields and kind != "method":
        return
    with gr.Column(visible=visible) as group:
        gr.HTML(f'<span class="kd-head">{text.escape(heading)}</span>')
        if not fields:
            gr.HTML('<p class="kd-facts">Nothing to set: the labels are all it needs.</p>')
        with gr.Row():
            form.own[kind, name] = [
                draw(path, info, elem_id=f"field-{name}-{path.split('.')[-1]}") for path, info in fields
            ]
    form.groups[kind, name] = group
