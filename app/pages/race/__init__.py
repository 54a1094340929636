"""Race: which method is best for my data, teacher and student, within some hours?"""

from __future__ import annotations

import gradio as gr

from app.pages.race.handlers import Handlers
from app.pages.race.parts import draw
from app.pages.race.wiring import wire
from app.worker import Workers
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    parts = draw(workspace)
    wire(parts, Handlers(list(parts.form), workspace, workers), page)
