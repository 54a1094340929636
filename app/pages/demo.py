"""Demo: how does it do on my picture?"""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from app import boxes, text
from app.board import Board
from app.events import QUIET
from app.pages import demo_many
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.figures import map_grid
from kdengine.rundir import short_id

MOST_STUDENTS = 4


def build(board: Board, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML('<h1 class="kd">Demo</h1><p class="kd-lead">How does it do on my picture?</p>')
    truth = gr.State("")
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=4, min_width=300):
            run = gr.Dropdown(
                _choices(board), multiselect=True, max_choices=MOST_STUDENTS, label="Students", elem_id="demo-run",
                info=f"Runs that have a trained network; up to {MOST_STUDENTS} side by side.",
            )  # fmt: skip
            arrival = gr.HTML("", elem_id="demo-arrival")
            picture = gr.Image(
                type="filepath", sources=["upload", "clipboard", "webcam"], label="Picture", height=300,
                elem_id="demo-picture", buttons=[],
            )  # fmt: skip
            # The file is handed on as it was uploaded, so that what is wrong with it can be told in words. (A subclass
            # would make Gradio write a .pyi file beside this one.)
            picture.preprocess = _path_of_upload
            with gr.Row():
                sample = gr.Button("A picture from the test set", size="sm", elem_id="demo-sample")
                looks = gr.Checkbox(False, label="show where each looks", elem_id="demo-looks", container=False)
        with gr.Column(scale=7, min_width=320):
            answers = gr.HTML(_empty(), elem_id="demo-answers")
            many = demo_many.Panel(worker)

    def arrive(request: gr.Request) -> list[Any]:
        """The students that the address names, the newest without a name; who is not there is said, not replaced."""
        choices = _choices(board)
        values = [value for _, value in choices]
        wanted = [run for run in str((request.query_params or {}).get("run", "")).split(",") if run]
        missing = boxes.without_network([run for run in wanted if run not in values])
        chosen = [run for run in wanted if run in values][:MOST_STUDENTS] if wanted else values[:1]
        return [gr.update(choices=choices, value=chosen), missing]

    def classify(run_ids: list[str] | None, path: str | None, label: str, overlay: bool) -> str:
        if not run_ids or path is None:
            return _empty(bool(run_ids) or bool(_choices(board)))
        try:
            return _answers(worker.call("classify", run_ids, path, overlay), label)
        except KdError as error:
            return boxes.refusal(error)

    def draw_sample(run_ids: list[str] | None) -> Any:
        if not run_ids:
            return gr.skip(), gr.skip()
        try:
            image, label = worker.call("test_picture", run_ids[0], random.randrange(1_000_000))
        except KdError as error:
            gr.Warning(str(error))
            return gr.skip(), gr.skip()
        return image, label

    page.load(arrive, None, [run, arrival], **QUIET)
    look = {"fn": classify, "inputs": [run, picture, truth, looks], "outputs": answers, **QUIET} | {
        "show_progress": "minimal"
    }
    sample.click(draw_sample, run, [picture, truth], **QUIET).then(**look)
    picture.input(lambda: "", None, truth, **QUIET).then(**look)
    run.change(**look)
    run.input(lambda: "", None, arrival, **QUIET)
    looks.input(**look)
    many.listen(run)


def _path_of_upload(payload: Any) -> str | None:
    return payload.path if payload is not None else None


def _choices(board: Board) -> list[tuple[str, str]]:
    found = []
    for row in board.trained():
        accuracy = (
            f"{text.percent(row.test)} on test"
            if row.test is not None
            else f"{text.percent(row.best)} on validation so far"
        )
        found.append((row.called(accuracy), row.id))
    return found


def _empty(has_run: bool = True) -> str:
    if not has_run:
        return boxes.NO_NETWORK
    invitation = "Drop a picture, paste one, take one with the camera,<br>or take one from the test set."
    return f'<div class="kd-empty">{invitation}</div>'


def _answers(answers: list[dict[str, Any]], label: str) -> str:
    truth = f'<p class="kd-lead">From the test set; its class is <b>{text.escape(label)}</b>.</p>' if label else ""
    cards = "".join(_card(answer, label) for answer in answers)
    return f'{truth}<div class="kd-answers">{cards}</div>'


def _card(answer: dict[str, Any], label: str) -> str:
    e = text.escape
    bars = "".join(
        f'<div class="row"><span title="{e(name)}">{e(name)}</span>'
        f'<span class="track"><i style="width:{100 * value:.1f}%"></i></span>'
        f'<span class="p">{text.percent(value)}</span></div>'
        for name, value in answer["top"]
    )
    verdict = ""
    if label:
        word = "right" if answer["top"][0][0] == label else "wrong"
        verdict = f' <span class="kd-{word}">{word}</span>'
    size, parameters = text.size(answer["bytes"]), text.count(answer["parameters"])
    role = answer["role"]
    return (
        f'<div class="card kd-answer {role}" data-role="{role}"><span class="kd-head">{role}</span>'
        f"<h3>{e(answer['model'])} <small>{e(_called(answer['run']))}</small>{verdict}</h3>"
        f'<p class="kd-facts">{answer["milliseconds"]:.1f} ms · {size} · {parameters} parameters</p>{bars}'
        f"{_look(answer)}</div>"
    )


def _called(run: str) -> str:
    """A run as the list of students calls it; an imported teacher by its name."""
    return run if ":" in run else f"[{short_id(run)}]"


def _look(answer: dict[str, Any]) -> str:
    if "pixels" not in answer:
        return ""
    if answer["map"] is None:
        return '<p class="kd-facts">This network has no maps to look at.</p>'
    told = "Brighter speaks more for its first answer (Grad-CAM)."
    return (
        f'<div class="kd-look">{map_grid.overlay(answer["pixels"], answer["map"])}</div><p class="kd-facts">{told}</p>'
    )
