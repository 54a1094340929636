"""Every method by family, with when to take it, in a panel that opens over the Launch page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import ready, text
from app.theme import ASSETS
from kdengine.registry import METHODS

FAMILIES = {
    "baseline": "Baseline",
    "logits": "From the teacher's logits",
    "features": "From the teacher's features",
    "relations": "From relations between images",
    "self-distillation": "Self-distillation, without a teacher",
}
"""The families in the order in which they are listed; those of plug-ins come after them, by their own names."""

CHOOSE_JS = (ASSETS / "method_chooser.js").read_text()


def draw() -> gr.HTML:
    """Draws the button and the panel into the current Gradio context."""
    return gr.HTML(panel(), js_on_load=CHOOSE_JS, elem_id="methods", apply_default_css=False)


def chosen(event: gr.EventData) -> str:
    """The method that was clicked; the one that is chosen already where a client sends what is none."""
    name = str(event._data.get("method", ""))
    return name if name in METHODS else gr.skip()


def panel() -> str:
    """The button and the panel as HTML."""
    families: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in METHODS.names():
        families.setdefault(METHODS.get(name).family or "others", []).append(name)
    sections = "".join(_section(family, names) for family, names in families.items() if names)
    target = 'type="button" popovertarget="kd-methods"'
    return (
        f'<button {target} class="kd-link">Browse {len(METHODS.names())} methods</button>'
        '<div id="kd-methods" popover><div class="kd-methods-top"><h2>Methods</h2>'
        '<input type="search" placeholder="Filter" aria-label="Filter the methods">'
        f'<button {target} popovertargetaction="hide" class="kd-icon" aria-label="Close">×</button></div>'
        f"{sections}</div>"
    )


def _section(family: str, names: list[str]) -> str:
    cards = "".join(_card(name) for name in names)
    return f"<section><h3>{text.escape(FAMILIES.get(family, family))}</h3><div>{cards}</div></section>"


def _card(name: str) -> str:
    entry: Any = METHODS.get(name)
    e = text.escape
    is_one = any(name == each.name for each in ready.PAPERS)
    mark = ' <span class="kd-one-of-five">one of the five papers</span>' if is_one else ""
    paper = f"<small>{e(entry.paper)}</small>" if entry.paper else ""
    when = f"<i>{e(entry.when)}</i>" if entry.when else ""
    return (
        f'<button type="button" data-method="{e(name)}"><b>{e(entry.title)}{mark}</b>{when}'
        f"<span>{e(entry.description)}</span>{paper}</button>"
    )
