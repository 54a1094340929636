"""What happens on the Demo page: which event calls which handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.events import QUIET, WORKING, of_address
from app.pages.demo.handlers import Handlers
from app.pages.demo.parts import Parts

ADDRESS_JS = """
(runs) => {
  if (new URLSearchParams(window.location.search).has('only')) return;
  history.replaceState(null, '', '/demo' + (runs.length ? '?run=' + runs.map(encodeURIComponent).join(',') : ''));
}
"""


def wire(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    classify = {
        "fn": handlers.classify, "inputs": [parts.run, parts.image, parts.truth, parts.overlay, parts.only],
        "outputs": parts.predictions, **WORKING,
    }  # fmt: skip
    page.load(
        of_address(handlers.arrive), None,
        [parts.heading, parts.run, parts.arrival, parts.examples, parts.share, parts.only, parts.many.box], **QUIET,
    )  # fmt: skip
    taken = {"outputs": [parts.image, parts.truth], **QUIET}
    parts.sample.click(handlers.draw_sample, parts.run, **taken).then(**classify)
    parts.examples.select(_example(handlers), parts.run, **taken).then(**classify)
    parts.image.input(lambda: "", None, parts.truth, **QUIET).then(**classify)
    parts.run.change(**classify)
    chosen = parts.run.input(handlers.choose, parts.run, [parts.arrival, parts.examples, parts.share], **QUIET)
    chosen.then(None, parts.run, None, js=ADDRESS_JS, **QUIET)
    parts.overlay.input(**classify)


def _example(handlers: Handlers) -> Callable[..., tuple[Any, Any]]:
    """Reads what the examples' script sends with a click."""

    def take(run_ids: list[str] | None, event: gr.EventData) -> tuple[Any, Any]:
        number = event._data.get("number", 0)  # {number}, the payload of trigger() in assets/demo_examples.js
        return handlers.take_example(run_ids, int(number))

    return take
