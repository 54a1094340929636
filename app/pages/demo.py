"""Demo: how does it do on my picture?"""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from app import text
from app.board import Board
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.states import State


def build(board: Board, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML('<h1 class="kd">Demo</h1><p class="kd-lead">How does it do on my picture?</p>')
    truth = gr.State("")
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=4, min_width=300):
            run = gr.Dropdown(
                _choices(board), label="Student", info="Runs that have a trained network.", elem_id="demo-run"
            )
            picture = gr.Image(
                type="filepath", sources=["upload", "clipboard", "webcam"], label="Picture", height=300,
                elem_id="demo-picture", buttons=[],
            )  # fmt: skip
            # The file is handed on as it was uploaded, so that what is wrong with it can be told in words. (A subclass
            # would make Gradio write a .pyi file beside this one.)
            picture.preprocess = _path_of_upload
            sample = gr.Button("A picture from the test set", size="sm", elem_id="demo-sample")
        with gr.Column(scale=7, min_width=320):
            answers = gr.HTML(_empty(), elem_id="demo-answers")
    quiet: dict[str, Any] = {"api_visibility": "private"}

    def arrive(request: gr.Request) -> Any:
        choices = _choices(board)
        wanted = (request.query_params or {}).get("run")
        values = [value for _, value in choices]
        return gr.update(choices=choices, value=wanted if wanted in values else (values[0] if values else None))

    def classify(run_id: str | None, path: str | None, label: str) -> str:
        if not run_id or path is None:
            return _empty(bool(run_id))
        try:
            return _answers(worker.call("classify", run_id, path), label)
        except KdError as error:
            return f'<div class="kd-problems" role="alert">{text.escape(error)}</div>'

    def draw_sample(run_id: str | None) -> Any:
        if not run_id:
            return gr.skip(), gr.skip()
        try:
            image, label = worker.call("test_picture", run_id, random.randrange(1_000_000))
        except KdError as error:
            gr.Warning(str(error))
            return gr.skip(), gr.skip()
        return image, label

    page.load(arrive, None, run, show_progress="hidden", **quiet)
    look = {"fn": classify, "inputs": [run, picture, truth], "outputs": answers, "show_progress": "minimal", **quiet}
    sample.click(draw_sample, run, [picture, truth], show_progress="hidden", **quiet).then(**look)
    picture.input(lambda: "", None, truth, show_progress="hidden", **quiet).then(**look)
    run.change(**look)


def _path_of_upload(payload: Any) -> str | None:
    return payload.path if payload is not None else None


def _choices(board: Board) -> list[tuple[str, str]]:
    """Runs with a trained network, newest first; finished ones and those that can be tried while they train."""
    found = []
    for row in board.rows():
        if row.best is None or row.state == State.QUEUED:
            continue
        accuracy = (
            f"{text.percent(row.test)} on test"
            if row.test is not None
            else f"{text.percent(row.best)} on validation so far"
        )
        found.append((f"{row.student}, {row.method}, {row.dataset}: {accuracy} [{row.id[-4:]}]", row.id))
    return found


def _empty(has_run: bool = True) -> str:
    if not has_run:
        return '<div class="kd-empty">No trained network yet: <a href="/">launch a run</a> first.</div>'
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
        f"<h3>{e(answer['model'])}{verdict}</h3>"
        f'<p class="kd-facts">{answer["milliseconds"]:.1f} ms · {size} · {parameters} parameters</p>{bars}</div>'
    )
