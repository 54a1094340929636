"""What happens on the Race page: which event calls which handler."""

from __future__ import annotations

import gradio as gr

from app import export_panel
from app.events import QUIET, of_address
from app.export_panel import ExportHandlers
from app.pages.race.handlers import Handlers
from app.pages.race.parts import Parts

POLL_S = 2.0


def wire(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    form, controls = parts.form, list(parts.form.values())
    summarize = {
        "fn": handlers.summarize, "inputs": controls, "outputs": [parts.command, parts.course], **QUIET,
    }  # fmt: skip
    gr.on([control.change for control in controls], **summarize, trigger_mode="always_last")
    page.load(**summarize)
    form["data"].input(handlers.offer_teachers, form["data"], form["teacher"], **QUIET)
    parts.begin.click(
        handlers.start, controls, [parts.problems, parts.chosen, parts.refused, parts.new], trigger_mode="once",
        **QUIET,
    )  # fmt: skip
    _wire_side(parts, handlers, page)


def _wire_side(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    refresh = {
        "fn": handlers.refresh, "inputs": [parts.chosen, parts.seen], "outputs": [parts.seen, *parts.shown], **QUIET,
    }  # fmt: skip
    forget = {"fn": lambda: "", "inputs": None, "outputs": parts.seen, **QUIET}
    arrived = page.load(of_address(handlers.arrive), None, [parts.chosen, parts.refused, parts.new], **QUIET)
    arrived.then(**forget).then(**refresh)
    parts.chosen.change(**forget).then(**refresh)
    parts.chosen.input(lambda: "", None, parts.refused, **QUIET)
    gr.Timer(POLL_S).tick(**refresh, concurrency_limit=None, trigger_mode="once")
    export_panel.wire(parts.export, ExportHandlers(handlers.workers.background), parts.winner)
    parts.resume.click(handlers.again, parts.chosen, parts.refused, trigger_mode="once", **QUIET).then(**refresh)
    parts.halt.click(handlers.end, parts.chosen, parts.refused, trigger_mode="once", **QUIET).then(**refresh)
