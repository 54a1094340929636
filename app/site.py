"""The whole dashboard: its pages under one navigation bar."""

from __future__ import annotations

import gradio as gr

from app.board import Board
from app.pages import compare, demo, launch, runs
from app.worker import Worker
from kdengine.workspace import Workspace


def build(workspace: Workspace, workers: tuple[Worker, Worker], mlflow_url: str | None = None) -> gr.Blocks:
    """The Blocks of all pages.

    Args:
        workspace: whose runs are shown and launched.
        workers: one for the Launch page, one for the Demo page, so that a long measurement never delays a picture.
        mlflow_url: address of the MLflow page where it was started too.
    """
    board = Board(workspace)
    with gr.Blocks(
        title="kd: knowledge distillation", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True
    ) as site:
        gr.Navbar(main_page_name="Launch")
        launch.build(workspace, workers[0], site)
    with site.route("Runs", "/runs") as page:
        gr.Navbar(main_page_name="Launch")
        runs.build(board, workers[0], page, mlflow_url)
    with site.route("Compare", "/compare") as page:
        gr.Navbar(main_page_name="Launch")
        compare.build(workspace, workers[0], page)
    with site.route("Demo", "/demo") as page:
        gr.Navbar(main_page_name="Launch")
        demo.build(board, workers[1], page)
    site.queue(default_concurrency_limit=8, max_size=128)
    return site
