"""What can be done with several runs at once: the bar that appears when runs are ticked, and what it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.events import QUIET
from app.pages.runs.ticked_handlers import TickedHandlers

# The table's script writes down there what is ticked: a click sends what is ticked at that moment.
_IDS = "document.documentElement.dataset.tickedRuns || ''"
TICKED = f"() => {_IDS}"
TICKED_AND_TAG = f"(ids, tag) => [{_IDS}, tag]"
SAVE_CSV = """() => setTimeout(() => {
  if (!document.querySelector('#ticked-refused [role=alert]')) document.querySelector('#csv-file').click();
}, 100)"""
ACTIONS = (
    ("overlay", "Overlay curves", "ticked-overlay"),
    ("compare", "Compare settings", "ticked-compare"),
    ("csv", "Download CSV", "ticked-csv"),
    ("delete", "Delete", "ticked-delete"),
)
"""Name, label and element id of each button."""


@dataclass(eq=False)
class TickedParts:
    """The components.

    Attributes:
        ids: stands in for what the browser sends: the ids of the ticked runs.
        asked: ids of the runs that the question is about.
        refused: one line under the bar.
        box: what a button led to, with ``said``, ``plot``, and ``really``, which asks before it deletes.
    """

    ids: Any
    buttons: dict[str, Any]
    tag: Any
    add: Any
    remove: Any
    csv_file: Any
    asked: Any
    refused: Any
    box: Any
    said: Any
    plot: Any
    really: Any
    sure: Any
    keep: Any
    close: Any

    @property
    def result(self) -> list[Any]:
        """What the handlers return that show something."""
        return [self.box, self.said, self.plot, self.really]


def draw() -> TickedParts:
    """Draws them into the current Gradio context."""
    ids = gr.Textbox("", visible="hidden", elem_id="ticked-runs")
    asked = gr.State("")
    with gr.Row(elem_id="ticked-bar"):
        gr.HTML('<b id="ticked-count" role="status"></b>', elem_id="ticked-said", apply_default_css=False)
        buttons = {name: gr.Button(label, size="sm", min_width=60, elem_id=elem_id) for name, label, elem_id in ACTIONS}
        tag = gr.Textbox(
            label="Tag", show_label=False, container=False, placeholder="tag", max_lines=1, min_width=90,
            elem_id="ticked-tag",
        )  # fmt: skip
        add = gr.Button("Add tag", size="sm", min_width=60, elem_id="ticked-add-tag")
        remove = gr.Button("Remove tag", size="sm", min_width=60, elem_id="ticked-remove-tag")
    csv_file = gr.DownloadButton(visible="hidden", elem_id="csv-file")
    refused = gr.HTML("", elem_id="ticked-refused")
    with gr.Column(visible=False, elem_id="ticked-result") as box:
        said = gr.HTML("", elem_id="ticked-outcome", apply_default_css=False)
        plot = gr.Plot(elem_id="overlay-plot", show_label=False, container=False, visible=False)
        with gr.Row(visible=False) as really:
            sure = gr.Button("Delete permanently", size="sm", variant="stop", elem_id="ticked-delete-sure")
            keep = gr.Button("Keep them", size="sm", elem_id="ticked-delete-keep")
        close = gr.Button("Close", size="sm", min_width=60, elem_id="ticked-close")
    return TickedParts(
        ids, buttons, tag, add, remove, csv_file, asked, refused, box, said, plot, really, sure, keep, close
    )


def wire(parts: TickedParts, handlers: TickedHandlers, refresh: dict[str, Any]) -> None:
    """Connects components and handlers.

    Args:
        parts: the components.
        handlers: theirs.
        refresh: the event that shows what has changed in the table.
    """
    ids = parts.ids
    result = parts.result
    parts.buttons["overlay"].click(handlers.overlay, ids, result, js=TICKED, **QUIET)
    parts.buttons["compare"].click(handlers.compare_settings, ids, result, js=TICKED, **QUIET)
    parts.buttons["csv"].click(
        handlers.hand_out_csv, ids, [parts.csv_file, parts.refused], js=TICKED, **QUIET
    ).then(None, None, None, js=SAVE_CSV, **QUIET)  # fmt: skip
    parts.buttons["delete"].click(
        handlers.ask_before_deleting, ids, [parts.asked, *result, parts.sure], js=TICKED, **QUIET
    )
    parts.sure.click(handlers.delete, parts.asked, [parts.asked, *result], **QUIET).then(**refresh)
    for button in (parts.keep, parts.close):
        button.click(handlers.close, None, result, **QUIET)
    for button, change in ((parts.add, handlers.add_tag), (parts.remove, handlers.remove_tag)):
        button.click(
            change, [ids, parts.tag], [parts.refused, parts.tag], js=TICKED_AND_TAG, **QUIET
        ).then(**refresh)  # fmt: skip
