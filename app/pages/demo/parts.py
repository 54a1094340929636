"""The components of the Demo page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.pages.demo import many
from app.pages.demo.handlers import HEADING, MAX_STUDENTS, Choices
from app.pages.demo.predictions import empty
from app.theme import ASSETS

EXAMPLES_JS = (ASSETS / "demo_examples.js").read_text()


@dataclass(eq=False)
class Parts:
    """Every component that events read or write.

    Attributes:
        truth: holds the class of a test image.
        only: holds whether the page is shown alone.
        share: the link to that.
    """

    heading: Any
    truth: Any
    only: Any
    run: Any
    arrival: Any
    share: Any
    examples: Any
    image: Any
    sample: Any
    overlay: Any
    predictions: Any
    many: many.ManyImagesPanel


def draw(choices: Choices) -> Parts:
    """Draws all components into the current Gradio context.

    Args:
        choices: runs that can classify, as (label, id).
    """
    heading = gr.HTML(HEADING, elem_id="demo-heading")
    truth, only = gr.State(""), gr.State(False)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=4, min_width=300):
            run = gr.Dropdown(
                choices, multiselect=True, max_choices=MAX_STUDENTS, label="Students", elem_id="demo-run",
                info=f"Runs that have a trained network; up to {MAX_STUDENTS} side by side.",
            )  # fmt: skip
            arrival = gr.HTML("", elem_id="demo-arrival")
            share = gr.HTML("", elem_id="demo-alone")
            gr.HTML('<span class="kd-head">Examples from its data</span>')
            examples = gr.HTML("", js_on_load=EXAMPLES_JS, elem_id="demo-examples", apply_default_css=False)
            image = gr.Image(
                type="filepath", sources=["upload", "clipboard", "webcam"], label="Image", height=260,
                elem_id="demo-image", buttons=[],
            )  # fmt: skip
            # The file is handed on as it was uploaded, so that what is wrong with it can be explained. (A subclass
            # would make Gradio write a .pyi file beside this one.)
            image.preprocess = _path_of_upload
            with gr.Row():
                sample = gr.Button("Another image from the test set", size="sm", elem_id="demo-sample")
                overlay = gr.Checkbox(False, label="Show Grad-CAM", elem_id="demo-looks", container=False)
        with gr.Column(scale=7, min_width=300):
            predictions = gr.HTML(empty(), elem_id="demo-answers")
            panel = many.draw()
    return Parts(
        heading, truth, only, run, arrival, share, examples, image, sample, overlay, predictions, panel
    )  # fmt: skip


def _path_of_upload(payload: Any) -> str | None:
    return payload.path if payload is not None else None
