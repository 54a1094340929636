"""A panel that finds a network among the catalog's, torchvision's and timm's, with its parameters and MACs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import boxes, text
from app.events import QUIET
from app.latest import Latest
from app.theme import ASSETS
from app.worker import Worker
from kdengine.errors import KdError

SEARCH_JS = (ASSETS / "network_search.js").read_text()
SHOW_JS = """
const show = () => {
  const place = document.querySelector(`#${element.querySelector('[data-for]')?.dataset.for} .kd-found`);
  if (place) place.innerHTML = element.querySelector('[data-for]').innerHTML;
};
show();
watch('value', show);
"""
AT_ONCE = 8  # so many costs are counted before they are shown

Costs = dict[str, tuple[int, int] | None]
"""Name -> parameters and MACs; None for a network that cannot be had."""


@dataclass(frozen=True, eq=False)
class Chooser:
    """The components: the button with its panel, and what carries the names that were found into it."""

    panel: Any
    found: Any


def draw(name: str) -> Chooser:
    """Draws them into the current Gradio context.

    Args:
        name: of the field, in element ids.
    """
    target = f'type="button" popovertarget="kd-networks-{name}"'
    panel = gr.HTML(
        f'<button {target} class="kd-link">Search all networks</button>'
        f'<div id="kd-networks-{name}" class="kd-networks" popover><div class="kd-methods-top"><h2>Networks</h2>'
        f'<input type="search" placeholder="Name, e.g. mobilenet" aria-label="Search networks for {name}">'
        f'<button {target} popovertargetaction="hide" class="kd-icon" aria-label="Close">×</button></div>'
        '<div class="kd-found"></div></div>',
        js_on_load=SEARCH_JS, elem_id=f"networks-{name}", apply_default_css=False,
    )  # fmt: skip
    return Chooser(panel, gr.HTML("", js_on_load=SHOW_JS, elem_id=f"networks-{name}-found"))


def wire(chooser: Chooser, handlers: Handlers, field: Any, image_size: Any) -> None:
    """Connects it to the field that it fills, and to the size at which costs are counted."""
    chooser.panel.submit(_chosen, None, field, **QUIET)
    # A query need not wait for the costs of the one before, which ends when there is a later one.
    chooser.panel.select(
        _asked(handlers), image_size, chooser.found, trigger_mode="multiple", concurrency_limit=4, **QUIET
    )


def _chosen(event: gr.EventData) -> Any:
    """The network that was clicked."""
    return str(event._data.get("name", "")) or gr.skip()


def _asked(handlers: Handlers) -> Callable[..., Iterator[str]]:
    """Reads what the panel's script sends with a query."""

    def select(image_size: float | None, event: gr.EventData, request: gr.Request) -> Iterator[str]:
        sent = event._data
        panel = str(sent.get("panel", ""))
        yield from handlers.search(str(sent.get("query", "")), panel, image_size, f"{request.session_hash} {panel}")

    return select


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        worker: knows the networks.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._latest = Latest()

    def search(self, query: str, panel: str, image_size: float | None, place: str) -> Iterator[str]:
        """The networks whose names contain every word: names at once, then their costs, some at a time.

        Args:
            query: what was typed.
            panel: element id of the panel that shows them.
            image_size: in pixels, at which MACs are counted.
            place: names the panel among those of all open pages: a later query of it ends this one.
        """
        size = int(image_size or 32)
        self._latest.note(place, query)
        try:
            found = self.worker.call("find_networks", query)
            costs: Costs = {}
            yield _listed(panel, found, costs, size)
            for start in range(0, len(found["names"]), AT_ONCE):
                if self._latest.overtaken(place, query):
                    return
                costs |= self.worker.call("network_costs", found["names"][start : start + AT_ONCE], size)
                yield _listed(panel, found, costs, size)
        except KdError as error:
            yield f'<div hidden data-for="{text.escape(panel)}">{boxes.error(error)}</div>'


def _listed(panel: str, found: dict[str, Any], costs: Costs, size: int) -> str:
    rows = "".join(_row(name, found["summaries"].get(name, ""), costs) for name in found["names"])
    rest = found["count"] - len(found["names"])
    more = f"<p>and {rest:,} more; type more of the name</p>" if rest > 0 else ""
    none = "" if found["names"] else "<p>No network has this in its name.</p>"
    head = f'<p class="kd-facts">{found["count"]:,} networks; MACs at {size} px.</p>'
    return f'<div hidden data-for="{text.escape(panel)}">{head}{rows}{more}{none}</div>'


def _row(name: str, summary: str, costs: Costs) -> str:
    e = text.escape
    said, off = "…", ""
    if name in costs:
        cost = costs[name]
        said = f"{text.count(cost[0])} parameters, {text.count(cost[1])} MACs" if cost else "not at this size"
        off = "" if cost else " disabled"
    return (
        f'<button type="button" data-network="{e(name)}"{off}><b>{e(name)}</b><span>{e(summary)}</span>'
        f'<span class="kd-num">{said}</span></button>'
    )
