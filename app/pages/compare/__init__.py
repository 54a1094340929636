"""Compare: which method helps, and is the gain reliable?"""

from __future__ import annotations

import gradio as gr

from app.pages.compare.handlers import Handlers
from app.pages.compare.parts import draw
from app.pages.compare.wiring import wire
from app.worker import Workers
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    parts = draw(workspace)
    wire(parts, Handlers(list(parts.form), workspace, workers), page)
