"""The settings of the Launch page's form, drawn from the fields of specs, methods, networks and data sets."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import text
from app.forms import controls_of, is_advanced
from app.forms import draw as control
from app.pages.launch.form import DEFAULTS, Form
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec import DataSpec, ExperimentSpec, RecipeSpec, RuntimeSpec
from kdengine.spec.named_recipes import RECIPES


def draw(form: Form) -> None:
    """Draws them into the current Gradio context, and puts them into the form."""
    _draw_method(form)
    _draw_recipe(form)
    _draw_more(form)


def _draw_method(form: Form) -> None:
    """The chosen method's own parameters; one group a method, one of them visible."""
    with gr.Column(elem_classes="card"):
        for name in METHODS.names():
            _draw_group(
                form,
                "method",
                name,
                METHODS.get(name).Params,
                name == DEFAULTS["method"],
                f"Method: {METHODS.get(name).title}",
            )


def _draw_recipe(form: Form) -> None:
    with gr.Column(elem_classes="card"):
        gr.HTML('<h2 class="kd-head">Recipe</h2>')
        settings = RECIPES["quick"].settings
        with gr.Row():
            form.recipe = gr.Dropdown(
                list(RECIPES), value="quick", label="Recipe", info=RECIPES["quick"].summary, min_width=220, scale=2,
                elem_id="field-recipe-name",
            )  # fmt: skip
            for path, info in controls_of(RecipeSpec, "recipe", ("name",)):
                if not is_advanced(info):
                    form.shared.append(control(path, info, settings[path.split(".")[1]]))
            for path, info in controls_of(DataSpec, "data", ("name", "params")):
                if not is_advanced(info):
                    form.shared.append(control(path, info, DATASETS.get(DEFAULTS["data"]).default_image_size))
            for path, info in controls_of(
                ExperimentSpec, "", ("data", "teacher", "student", "method", "recipe", "runtime", "title")
            ):
                form.shared.append(control(path, info))


def _draw_more(form: Form) -> None:
    with gr.Accordion("More", open=False, elem_classes="card", elem_id="more"):
        title = ExperimentSpec.model_fields["title"]
        settings = RECIPES["quick"].settings
        first = {"augmentation": "crop"}
        for heading, model, prefix in (
            ("Training", RecipeSpec, "recipe"),
            ("Data", DataSpec, "data"),
            ("Runtime", RuntimeSpec, "runtime"),
        ):
            gr.HTML(f'<h2 class="kd-head">{heading}</h2>')
            with gr.Row():
                for path, info in controls_of(model, prefix, ("name", "params")):
                    if is_advanced(info):
                        value = (
                            settings.get(path.split(".")[1]) if prefix == "recipe" else first.get(path.split(".")[1])
                        )
                        form.shared.append(control(path, info, value))
                if prefix == "data":
                    form.shared.append(control("title", title))
        for kind, registry, chosen in (("student", MODELS, DEFAULTS["student"]), ("data", DATASETS, DEFAULTS["data"])):
            for name in registry.names():
                _draw_group(
                    form,
                    kind,
                    name,
                    registry.get(name).Params,
                    name == chosen,
                    f"Options of {name}",
                    leave_out=("path",),
                )


def _draw_group(
    form: Form, kind: str, name: str, params: Any, visible: bool, heading: str, leave_out: tuple[str, ...] = ()
) -> None:
    fields = list(controls_of(params, kind, leave_out))
    if not fields and kind != "method":
        return
    with gr.Column(visible=visible) as group:
        gr.HTML(f'<h2 class="kd-head">{text.escape(heading)}</h2>')
        if not fields:
            gr.HTML('<p class="kd-facts">This method has no settings.</p>')
        with gr.Row():
            form.own[kind, name] = [
                control(path, info, elem_id=f"field-{name}-{path.split('.')[-1]}") for path, info in fields
            ]
    form.groups[kind, name] = group
