"""What happens on the Inspect page: which event calls which handler."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.events import QUIET, of_address
from app.pages.inspect.handlers import Handlers
from app.pages.inspect.parts import Parts

FADE_JS = "(share) => { document.documentElement.style.setProperty('--kd-fade', share); }"
SIZE_JS = "(size) => { document.documentElement.style.setProperty('--kd-tile', size + 'px'); }"
PRESENT_JS = "() => { document.dispatchEvent(new Event('kd-present')); }"
ADDRESS_JS = """
(run, other, what, epoch, best) => {
  const words = new URLSearchParams({run: run || '', what: what || '', epoch: best ? 'best' : epoch});
  if (other) words.set('with', other);
  if (run) history.replaceState(null, '', '/inspect?' + words);
}
"""


def wire(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    form = parts.form
    show: dict[str, Any] = {
        "fn": handlers.show, "inputs": [parts.offer, *form.inputs], "outputs": parts.shown,
        "trigger_mode": "always_last", **QUIET,
    }  # fmt: skip
    describe: dict[str, Any] = {
        "fn": handlers.describe, "inputs": [form.run, form.what, form.epoch, form.best],
        "outputs": [parts.offer, parts.group, form.what, form.epoch, form.best, form.classes], **QUIET,
    }  # fmt: skip
    address: dict[str, Any] = {
        "fn": None, "inputs": [form.run, form.other, form.what, form.epoch, form.best], "outputs": None,
        "js": ADDRESS_JS, **QUIET,
    }  # fmt: skip
    arrived = page.load(
        of_address(handlers.arrive), None, [parts.arrival, form.run, form.other, *describe["outputs"]], **QUIET
    )
    arrived.then(**show).then(**address)
    form.run.input(**describe).then(**show).then(**address)
    form.run.input(lambda: "", None, parts.arrival, **QUIET)
    parts.group.input(
        handlers.choose_group, [parts.offer, parts.group, *form.inputs], [form.what, *parts.shown],
        trigger_mode="always_last", **QUIET,
    ).then(**address)  # fmt: skip
    options = (form.stage, form.arrangement, form.scale, form.graph, form.threshold)
    for part in (form.other, form.what, form.best, form.classes, *options):
        part.input(**show).then(**address)
    form.epoch.change(**show).then(**address)
    form.count.release(**show)
    form.files.change(**show)
    form.source.input(
        handlers.choose_source, form.source, [form.classes, form.files], **QUIET
    ).then(**show)  # fmt: skip
    parts.fade.change(None, parts.fade, None, js=FADE_JS, **QUIET)
    parts.size.change(None, parts.size, None, js=SIZE_JS, **QUIET)
    parts.present.click(None, None, None, js=PRESENT_JS, **QUIET)
    parts.play.click(handlers.play, parts.playing, [parts.timer, parts.playing, parts.play], **QUIET)
    parts.timer.tick(handlers.advance, [parts.offer, form.epoch], form.epoch, **QUIET)
