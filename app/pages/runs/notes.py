"""The panel "Name, tags and notes" of the chosen run, and the one that says what differs from another run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import boxes
from app.events import QUIET
from app.pages.runs.differences import table
from app.pages.runs.listing import Listing
from app.pages.runs.ticked_handlers import TickedHandlers
from kdengine.errors import KdError
from kdengine.workspace.annotations import annotate


@dataclass(eq=False)
class NotesPanel:
    """The components; ``other`` is the run that the chosen one is compared with, ``differences`` the table."""

    name: Any
    tags: Any
    notes: Any
    save: Any
    said: Any
    box: Any
    other: Any
    differences: Any

    @property
    def fields(self) -> list[Any]:
        """Name, tags and notes."""
        return [self.name, self.tags, self.notes]


def draw() -> NotesPanel:
    """Draws them into the current Gradio context."""
    with gr.Accordion("What differs from another run", open=False, elem_id="differs-box") as box:
        other = gr.Dropdown([], label="Other run", filterable=True, elem_id="differs-from")
        differences = gr.HTML("", elem_id="differs", apply_default_css=False)
    with gr.Accordion("Name, tags and notes", open=False, elem_id="notes-box"):
        with gr.Row():
            name = gr.Textbox(label="Name", max_lines=1, elem_id="run-name")
            tags = gr.Textbox(label="Tags, with commas in between", max_lines=1, elem_id="run-tags")
        notes = gr.Textbox(label="Notes", lines=3, max_lines=12, elem_id="run-notes")
        save = gr.Button("Save", size="sm", min_width=70, elem_id="run-notes-save")
        said = gr.HTML("", elem_id="run-notes-said")
    return NotesPanel(name, tags, notes, save, said, box, other, differences)


def wire(parts: NotesPanel, handlers: NotesHandlers, chosen: Any, refresh: dict[str, Any]) -> None:
    """Connects components and handlers; ``chosen`` is the component with the chosen run's id."""
    parts.save.click(
        handlers.save, [chosen, *parts.fields], [parts.said, parts.tags], **QUIET
    ).then(**refresh)  # fmt: skip
    shown = [parts.other, parts.differences]
    parts.box.expand(handlers.offer, [chosen, parts.other], shown, **QUIET)
    parts.other.input(handlers.compare, [chosen, parts.other], parts.differences, **QUIET)
    chosen.change(handlers.forget, None, [parts.said, parts.box, *shown], **QUIET)


class NotesHandlers:
    """The event handlers of both panels.

    Args:
        listing: all runs by name and group.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def save(self, run_id: str, name: str, tags: str, notes: str) -> list[Any]:
        """Keeps what was written; what was done or why not, and the tags as they are kept."""
        try:
            run = self.listing.board.workspace.run(run_id)
            said = annotate(run, name=name, tags=tags.split(","), notes=notes)
        except KdError as error:
            return [boxes.error(error), gr.skip()]
        return [boxes.note("Saved."), ", ".join(said.tags)]

    def offer(self, run_id: str, other: str | None) -> list[Any]:
        """The runs that the chosen one can be compared with, the likeliest chosen, and what differs from that."""
        rows, known = self.listing.look()
        mine = next((row for row in rows if row.id == run_id), None)
        if mine is None:
            return self.forget()[2:]
        others = [row for row in rows if row.id != run_id and row.kind == mine.kind]
        # The next older one of the same group, or on the same data.
        near = sorted(
            others,
            key=lambda row: (
                known.groups.get(row.id) != known.groups.get(run_id),
                row.data != mine.data,
                row.submitted > mine.submitted,
                abs(row.submitted - mine.submitted),
            ),
        )
        likeliest = other if other in {row.id for row in others} else (near[0].id if near else None)
        choices = [(f"{known.names[row.id]} · {known.words[row.id] or row.data}"
                    + (f" · seed {row.seed}" if row.seed is not None else ""), row.id) for row in near]  # fmt: skip
        return [gr.update(choices=choices, value=likeliest), self.compare(run_id, likeliest)]

    def compare(self, run_id: str, other: str | None) -> str:
        """What differs between two runs, as a table."""
        rows, gone = self.listing.chosen([run_id, other or ""])
        if len(rows) < 2:
            return boxes.problems([f"There is no run {' or '.join(gone)}."]) if other else boxes.note("No other run.")
        compared = TickedHandlers(self.listing).compared
        names = dict(zip((row.id for row in rows), ("this run", self.listing.called([rows[1].id])[0]), strict=True))
        return table([compared(row, names[row.id]) for row in rows])

    def forget(self) -> list[Any]:
        """Another run was chosen: a message, the panel that says what differs, and what is in it, go."""
        return ["", gr.update(open=False), gr.update(value=None), ""]
