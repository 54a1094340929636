"""Inspect: what did the teacher see, and what did the student learn to see?"""

from __future__ import annotations

import gradio as gr

from app.board import Board
from app.pages.inspect import save
from app.pages.inspect.handlers import Handlers
from app.pages.inspect.parts import draw
from app.pages.inspect.wiring import wire
from app.worker import Worker


def build(board: Board, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    parts = draw()
    wire(parts, Handlers(board, worker), page)
    save.wire(parts.save, save.SaveHandlers(worker), parts.offer, parts.form.inputs)
