"""Demo: how does it do on my image?"""

from __future__ import annotations

import gradio as gr

from app.board import Board
from app.pages.demo import many
from app.pages.demo.handlers import Handlers
from app.pages.demo.parts import draw
from app.pages.demo.wiring import wire
from app.worker import Worker


def build(board: Board, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    handlers = Handlers(board, worker)
    parts = draw(handlers.choices())
    wire(parts, handlers, page)
    many.wire(parts.many, many.ManyImagesHandlers(worker), parts.run)
