"""Studies: which hyper-parameters are best, and is the gain real?"""

from __future__ import annotations

import gradio as gr

from app.pages.studies.board import StudyBoard
from app.pages.studies.form_handlers import FormHandlers
from app.pages.studies.parts import draw
from app.pages.studies.study_handlers import StudyHandlers
from app.pages.studies.wiring import wire
from app.worker import Workers
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context, and connects it."""
    board = StudyBoard(workspace)
    parts = draw(workspace)
    wire(parts, FormHandlers(list(parts.form), board, workers), StudyHandlers(board, workers.acting), page)
