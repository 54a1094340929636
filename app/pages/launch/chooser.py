"""Every method by family, with when to take it and what it costs, in a panel that opens over the Launch page."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from app import ready, text
from app.pages.launch.form import Form, Values
from app.theme import ASSETS
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.registry import METHODS

FAMILIES = {
    "baseline": "Baseline",
    "logits": "From the teacher's logits",
    "features": "From the teacher's features",
    "relations": "From relations between images",
    "self-distillation": "Self-distillation, without a teacher",
}
"""The families in the order in which they are listed; those of plug-ins come after them, by their own names."""

COUNTED = "Operations of one training step, teacher included, counted for the chosen teacher and student."
CHOOSE_JS = (ASSETS / "method_chooser.js").read_text()
COSTS_JS = (ASSETS / "method_costs.js").read_text()


def draw() -> tuple[gr.HTML, gr.HTML]:
    """Draws the button with its panel, and what hands the costs to it, into the current Gradio context."""
    chooser = gr.HTML(panel(), js_on_load=CHOOSE_JS, elem_id="methods", apply_default_css=False)
    costs = gr.HTML("", html_template="<i></i>", js_on_load=COSTS_JS, elem_id="method-costs", apply_default_css=False)
    return chooser, costs


class CostHandlers:
    """What each method costs for the networks of the form.

    Args:
        form: the controls.
        worker: who counts.
    """

    def __init__(self, form: Form, worker: Worker) -> None:
        self._form = form
        self._worker = worker

    def count(self, values: Values) -> str:
        """JSON for assets/method_costs.js: of each method what its card says, and why where that is not a number."""
        try:
            experiment, teacher = self._form.without_method(values)
            found = self._worker.call("method_costs", experiment, teacher)
        except KdError as error:
            return json.dumps({"": {"text": "", "title": str(error)}})
        return json.dumps({name: _said(each) for name, each in found.items()})


def _said(found: dict[str, Any]) -> dict[str, str]:
    if found["ratio"] is None:
        return {"text": "does not go with this choice", "title": found["why"]}
    return {"text": f"{found['ratio']:.1f}x plain training", "title": COUNTED}


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
    paper = f'<small translate="no">{e(entry.paper)}</small>' if entry.paper else ""
    when = f"<i>{e(entry.when)}</i>" if entry.when else ""
    return (
        f'<button type="button" data-method="{e(name)}"><b>{e(entry.title)}{mark}</b>{when}'
        f'<span>{e(entry.description)}</span>{paper}<span class="kd-step-cost"></span></button>'
    )
