"""What happens on the Runs page: which event calls which handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.events import QUIET, of_address
from app.pages.runs.handlers import Handlers
from app.pages.runs.parts import Parts

GO_WITH = "(id) => { if (id) window.location.href = 'ADDRESS' + encodeURIComponent(id); }"
SAVE_LOG = """() => setTimeout(() => {
  if (!document.querySelector('#run-refused [role=alert]')) document.querySelector('#log-file').click();
}, 100)"""
# The search stands in the page's address, beside the run: a link to it finds the same.
QUERY_IN_ADDRESS = """(...values) => {
  const address = new URL(window.location), line = values[4].trim();
  if (line) address.searchParams.set('q', line); else address.searchParams.delete('q');
  history.replaceState(history.state, '', address);
  return values;
}"""
REQUESTS = ("stop", "kill", "resume", "accept", "up", "down")
LEADS_TO = {"clone": "/launch?clone=", "inspect": "/inspect?run=", "demo": "/demo?run="}


def wire(parts: Parts, handlers: Handlers, page: gr.Blocks) -> dict[str, Any]:
    """Connects components and handlers; returns the event that shows whatever has changed."""
    refresh = {
        "fn": handlers.refresh, "inputs": [parts.chosen, *parts.view, parts.query, parts.seen, parts.visit],
        "outputs": parts.refreshed, **QUIET,
    }  # fmt: skip
    arrived = page.load(of_address(handlers.arrive), None, [parts.chosen, parts.query], **QUIET)
    arrived.then(lambda: {}, None, parts.seen, **QUIET).then(**refresh)
    # All of several quick clicks count, in their order; by default those that come while one is handled are lost.
    parts.table.select(
        _clicked(handlers), [parts.seen, parts.chosen_at, parts.visit], parts.selected, trigger_mode="multiple",
        concurrency_limit=1, **QUIET,
    ).then(**refresh | {"fn": handlers.follow})  # fmt: skip
    parts.timer.tick(**refresh, concurrency_limit=None, trigger_mode="once")
    parts.query.change(**refresh, js=QUERY_IN_ADDRESS, trigger_mode="always_last")
    for control in parts.view:
        control.change(
            handlers.draw_again, [parts.chosen, *parts.view, parts.seen, parts.visit], [parts.seen, parts.curves],
            trigger_mode="always_last", **QUIET,
        )  # fmt: skip
    _wire_buttons(parts, handlers, refresh)
    return refresh


def _wire_buttons(parts: Parts, handlers: Handlers, refresh: dict[str, Any]) -> None:
    for what in REQUESTS:
        parts.buttons[what].click(_requesting(handlers, what), parts.chosen, parts.refused, **QUIET).then(**refresh)
    for name, address in LEADS_TO.items():
        parts.buttons[name].click(None, parts.chosen, None, js=GO_WITH.replace("ADDRESS", address), **QUIET)
    parts.buttons["delete"].click(
        handlers.ask_before_deleting, parts.chosen, [parts.consequences, parts.really], **QUIET
    )
    parts.keep.click(lambda: gr.update(visible=False), None, parts.really, **QUIET)
    parts.sure.click(
        handlers.delete, [parts.chosen, parts.visit], [parts.chosen, parts.refused, parts.really], **QUIET
    ).then(**refresh)  # fmt: skip
    parts.download.click(handlers.hand_out_log, parts.chosen, [parts.log_file, parts.refused], **QUIET).then(
        None, None, None, js=SAVE_LOG, **QUIET
    )


def _clicked(handlers: Handlers) -> Callable[..., list[Any]]:
    """Reads what the table's script sends with a click."""

    def select(known: dict[str, Any], latest: float, visit: dict[str, str], event: gr.EventData) -> list[Any]:
        sent = event._data  # {run, at}, the payload of trigger() in assets/runs_table.js
        return handlers.select(str(sent.get("run", "")), float(sent.get("at", 0)), known, latest, visit)

    return select


def _requesting(handlers: Handlers, what: str) -> Callable[[str], str]:
    def send(run_id: str) -> str:
        return handlers.send_request(what, run_id)

    return send
