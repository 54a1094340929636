"""What happens on the Begin page: which event calls which handler."""

from __future__ import annotations

import gradio as gr

from app.events import QUIET
from app.pages.begin.handlers import Handlers
from app.pages.begin.parts import Parts


def wire(parts: Parts, handlers: Handlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    page.load(handlers.last_used, None, parts.last, **QUIET)
    page.load(handlers.estimate, None, parts.minutes, concurrency_limit=4, **QUIET)
