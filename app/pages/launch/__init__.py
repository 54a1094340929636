"""Launch: what shall I distil, will it work, and what will it cost?"""

from __future__ import annotations

import gradio as gr

from app.pages.launch.arrival import Arrival
from app.pages.launch.card_handlers import CardHandlers
from app.pages.launch.form import Form
from app.pages.launch.handlers import Handlers
from app.pages.launch.parts import draw
from app.pages.launch.wiring import wire
from app.worker import Workers
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    form = Form(workspace)
    parts = draw(form)
    wire(parts, Handlers(form, workers), CardHandlers(form, workers.measuring), Arrival(form), page)
