"""What happens on the Compare page: which event calls which handler."""

from __future__ import annotations

import gradio as gr

from app.events import of_address, quiet
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
    silent = quiet(parts.cost)
    summarize = {
        "fn": handlers.summarize, "inputs": [parts.measured, *controls],
        "outputs": [parts.command, parts.begin, parts.cost],
    }  # fmt: skip
    measure = {"fn": handlers.measure, "inputs": controls, "outputs": parts.measured}
    watched = [control.change for control in controls]
    gr.on(watched, **summarize, trigger_mode="always_last", **silent)
    gr.on(watched, **measure, trigger_mode="always_last", concurrency_limit=1, **silent).then(**summarize, **silent)
    page.load(**summarize, **silent).then(**measure, **silent).then(**summarize, **silent)
    form["data"].input(handlers.offer_teachers, form["data"], form["teacher"], **silent)
    parts.begin.click(
        handlers.start,
        controls,
        [parts.problems, parts.chosen, parts.refused, parts.new],
        trigger_mode="once",
        **silent,
    )


def _wire_side(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    silent = quiet(parts.state)
    refresh = {
        "fn": handlers.refresh, "inputs": [parts.chosen, parts.seen], "outputs": [parts.seen, *parts.shown], **silent,
    }  # fmt: skip
    forget = {"fn": lambda: "", "inputs": None, "outputs": parts.seen, **silent}
    arrived = page.load(of_address(handlers.arrive), None, [parts.chosen, parts.refused, parts.new], **silent)
    more = {"fn": handlers.offer_more, "inputs": parts.chosen, "outputs": [parts.seeds, parts.methods], **silent}
    arrived.then(**forget).then(**refresh)
    parts.chosen.change(**forget).then(**refresh).then(**more)
    parts.all_columns.change(None, parts.all_columns, None, js=SHOW_COLUMNS, **silent)
    gr.on(
        [parts.seeds.change, parts.methods.change], handlers.weigh, [parts.chosen, parts.seeds, parts.methods],
        parts.add, trigger_mode="always_last", concurrency_limit=1, **silent,
    )  # fmt: skip
    parts.add.click(
        handlers.extend, [parts.chosen, parts.seeds, parts.methods], parts.refused, trigger_mode="once", **silent
    ).then(**refresh).then(**more)  # fmt: skip
    parts.chosen.input(lambda: "", None, parts.refused, **silent)
    gr.Timer(POLL_S).tick(**refresh, concurrency_limit=None, trigger_mode="once")
    parts.resume.click(handlers.again, parts.chosen, parts.refused, trigger_mode="once", **silent).then(**refresh)
    parts.halt.click(handlers.end, parts.chosen, parts.refused, trigger_mode="once", **silent).then(**refresh)
    gr.Timer(MEASURE_S).tick(
        handlers.measure_finished, parts.chosen, None, concurrency_limit=1, trigger_mode="once", **silent
    )
