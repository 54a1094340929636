"""Runs: current and past runs, and their results."""

from __future__ import annotations

import gradio as gr

from app import export_panel
from app.board import Board
from app.pages.runs import notes, queue, ticked
from app.pages.runs.handlers import Handlers
from app.pages.runs.listing import Listing
from app.pages.runs.parts import draw
from app.pages.runs.ticked_handlers import TickedHandlers
from app.pages.runs.wiring import wire
from app.worker import Worker


def build(board: Board, worker: Worker, page: gr.Blocks, mlflow_url: str | None) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    parts, listing = draw(), Listing(board)
    queue.wire(parts.queue, queue.QueueHandlers(board.workspace), page)
    export_panel.wire(parts.export, export_panel.ExportHandlers(worker), parts.chosen)
    refresh = wire(parts, Handlers(board, mlflow_url, listing), page)
    ticked.wire(parts.ticked, TickedHandlers(listing), refresh)
    notes.wire(parts.notes, notes.NotesHandlers(listing), parts.chosen, refresh)
