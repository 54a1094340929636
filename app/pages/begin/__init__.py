"""Begin: where do I start?"""

from __future__ import annotations

import gradio as gr

from app.board import Board
from app.pages.begin.handlers import Handlers
from app.pages.begin.parts import draw
from app.pages.begin.wiring import wire
from app.worker import Worker


def build(board: Board, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    wire(draw(), Handlers(board, worker), page)
