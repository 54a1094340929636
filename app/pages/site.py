"""The whole dashboard: its pages, each under the same bar."""

from __future__ import annotations

import gradio as gr

from app import frame
from app.board import Board
from app.pages import begin, compare, demo, inspect, launch, race, runs, studies
from app.worker import Workers
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: Workers, mlflow_url: str | None = None) -> gr.Blocks:
    """The Blocks of all pages.

    Args:
        workspace: whose runs are shown and launched.
        workers: the processes that compute for the pages.
        mlflow_url: address of the MLflow page where it was started too.
    """
    board = Board(workspace)
    site = gr.Blocks(
        title="kd: knowledge distillation", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True
    )
    site.queue(default_concurrency_limit=8, max_size=128)
    pages = {
        "": lambda: begin.build(board, workers.measuring, site),
        "launch": lambda: launch.build(workspace, workers, site),
        "runs": lambda: runs.build(board, workers.background, site, mlflow_url),
        "compare": lambda: compare.build(workspace, workers, site),
        "race": lambda: race.build(workspace, workers, site),
        "studies": lambda: studies.build(workspace, workers, site),
        "inspect": lambda: inspect.build(board, workers.viewing, site),
        "demo": lambda: demo.build(board, workers.viewing, site),
    }
    for page in frame.PAGES:
        if page.path:
            site.route(page.name, f"/{page.path}")
    # At the end of a `with`, as in queue(), Gradio describes all that is drawn and makes a web application of it, a
    # third of a second each time: so all pages are drawn in one, and the queue is set up while there is nothing.
    with site:
        for path, draw in pages.items():
            site.current_page = path
            gr.Navbar(main_page_name=frame.PAGES[0].name, visible=False)
            frame.draw(path)
            draw()  # type: ignore[no-untyped-call]
    return site
