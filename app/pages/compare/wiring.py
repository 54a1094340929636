"""What happens on the Compare page: which event calls which handler."""

from __future__ import annotations

import gradio as gr

from app.events import QUIET, of_address
from app.pages.compare.handlers import Handlers
from app.pages.compare.parts import Parts

POLL_S = 2.0
MEASURE_S = 6.0
SHOW_COLUMNS = "(all) => { document.querySelector('#compare-table').classList.toggle('all', all); }"


def wire(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    _wire_form(parts, handlers, page)
    _wire_side(parts, handlers, page)


def _wire_form(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    form, controls = parts.form, list(parts.form.values())
    summarize = {
        "fn": handlers.summarize, "inputs": [parts.measured, *controls],
        "outputs": [parts.command, parts.begin, parts.cost],
    }  # fmt: skip
    measure = {"fn": handlers.measure, "inputs": controls, "outputs": parts.measured}
    watched = [control.change for control in controls]
    gr.on(watched, **summarize, trigger_mode="always_last", **QUIET)
    gr.on(watched, **measure, trigger_mode="always_last", concurrency_limit=1, **QUIET).then(**summarize, **QUIET)
    page.load(**summarize, **QUIET).then(**measure, **QUIET).then(**summarize, **QUIET)
    form["data"].input(handlers.offer_teachers, form["data"], form["teacher"], **QUIET)
    parts.begin.click(
        handlers.start,
        controls,
        [parts.problems, parts.chosen, parts.refused, parts.new],
        trigger_mode="once",
        **QUIET,
    )


def _wire_side(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    refresh = {
        "fn": handlers.refresh, "inputs": [parts.chosen, parts.seen], "outputs": [parts.seen, *parts.shown], **QUIET,
    }  # fmt: skip
    forget = {"fn": lambda: "", "inputs": None, "outputs": parts.seen, **QUIET}
    arrived = page.load(of_address(handlers.arrive), None, [parts.chosen, parts.refused, parts.new], **QUIET)
    more = {"fn": handlers.offer_more, "inputs": parts.chosen, "outputs": [parts.seeds, parts.methods], **QUIET}
    arrived.then(**forget).then(**refresh)
    parts.chosen.change(**forget).then(**refresh).then(**more)
    parts.all_columns.change(None, parts.all_columns, None, js=SHOW_COLUMNS, **QUIET)
    gr.on(
        [parts.seeds.change, parts.methods.change], handlers.weigh, [parts.chosen, parts.seeds, parts.methods],
        parts.add, trigger_mode="always_last", concurrency_limit=1, **QUIET,
    )  # fmt: skip
    parts.add.click(
        handlers.extend, [parts.chosen, parts.seeds, parts.methods], parts.refused, trigger_mode="once", **QUIET
    ).then(**refresh).then(**more)  # fmt: skip
    parts.chosen.input(lambda: "", None, parts.refused, **QUIET)
    gr.Timer(POLL_S).tick(**refresh, concurrency_limit=None, trigger_mode="once")
    parts.resume.click(handlers.again, parts.chosen, parts.refused, trigger_mode="once", **QUIET).then(**refresh)
    parts.halt.click(handlers.end, parts.chosen, parts.refused, trigger_mode="once", **QUIET).then(**refresh)
    gr.Timer(MEASURE_S).tick(
        handlers.measure_finished, parts.chosen, None, concurrency_limit=1, trigger_mode="once", **QUIET
    )
