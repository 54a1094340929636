"""The panel "Many images" of the Demo page: image files or zips of them in, a table of predictions out."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes
from app.events import WORKING
from app.pages.demo.handlers import MAX_STUDENTS
from app.pages.demo.report import details_of, summary_of
from app.worker import Worker
from kdengine.errors import KdError

PATIENCE_S = 3600.0


@dataclass(eq=False)
class ManyImagesPanel:
    """The components; ``matrices`` has a plot for each student, drawn where images were scored."""

    box: Any
    files: Any
    begin: Any
    summary: Any
    matrices: list[Any]
    details: Any
    table: Any

    @property
    def outputs(self) -> list[Any]:
        """What `ManyImagesHandlers.classify` returns."""
        return [self.summary, self.details, *self.matrices, self.table]


def draw() -> ManyImagesPanel:
    """Draws them into the current Gradio context."""
    with gr.Accordion("Many images", open=False, elem_id="demo-many") as box:
        gr.HTML(boxes.note("A zip with a folder for each class is scored: accuracy, confusion matrix, worst mistakes."))
        files = gr.File(file_count="multiple", label="Images, or zip files of images", height=120, elem_id="demo-files")
        begin = gr.Button("Classify all", size="sm", variant="primary", elem_id="demo-all")
        summary = gr.HTML("", elem_id="demo-told", apply_default_css=False)
        table = gr.DownloadButton("Download table (CSV)", size="sm", visible=False, elem_id="demo-table")
        with gr.Row():
            matrices = [
                gr.Plot(
                    visible=False, show_label=False, container=False, elem_id=f"demo-confusion-{number}", min_width=320
                )
                for number in range(MAX_STUDENTS)
            ]
        details = gr.HTML("", elem_id="demo-details", apply_default_css=False)
    return ManyImagesPanel(box, files, begin, summary, matrices, details, table)


def wire(parts: ManyImagesPanel, handlers: ManyImagesHandlers, run: Any) -> None:
    """Connects components and handlers; ``run`` is the component of the chosen students."""
    event = {"inputs": [run, parts.files], "outputs": parts.outputs, **WORKING}
    parts.begin.click(handlers.classify, **event)


class ManyImagesHandlers:
    """The event handlers of the panel.

    Args:
        worker: runs the networks.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def classify(self, run_ids: list[str] | None, files: list[str] | None) -> list[Any]:
        """Summary and details of the predictions for all files, a confusion matrix of each student, and the table."""
        hidden = [gr.update(visible=False)] * (MAX_STUDENTS + 1)
        if not run_ids or not files:
            missing = "a student" if not run_ids else "some images"
            return [f'<div class="kd-empty">Choose {missing} first.</div>', "", *hidden]
        target = Path(tempfile.mkdtemp(prefix="kd-demo-")) / "predictions.csv"
        sources = [(Path(file).name, str(file)) for file in files]
        try:
            found = self.worker.call("classify_all", run_ids, sources, str(target), patience_s=PATIENCE_S)
        except KdError as error:
            return [boxes.refusal(error), "", *hidden]
        drawn = _matrices(found["scores"])
        return [summary_of(found), details_of(found), *drawn, gr.update(visible=True, value=str(target))]


def _matrices(scores: dict[str, Any]) -> list[Any]:
    from kdengine.figures.matrices import confusion

    drawn = [
        gr.update(visible=True, value=confusion(score["counts"], score["classes"], name))
        for name, score in scores.items()
        if score["images"]
    ]
    return [*drawn, *[gr.update(visible=False)] * (MAX_STUDENTS - len(drawn))]
