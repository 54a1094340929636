"""Many pictures at once: files or zips of them in, a table out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, text
from app.events import QUIET
from app.worker import Worker
from kdengine.errors import KdError

PATIENCE_S = 3600.0


class Panel:
    """Where pictures and zips are dropped, and what came of them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        with gr.Accordion("Many pictures", open=False, elem_id="demo-many"):
            self._files = gr.File(
                file_count="multiple", label="Pictures, or zips of pictures", height=120, elem_id="demo-files"
            )
            self._begin = gr.Button("Classify them all", size="sm", variant="primary", elem_id="demo-all")
            self._told = gr.HTML("", elem_id="demo-told")
            self._table = gr.DownloadButton("Table (CSV)", size="sm", visible=False, elem_id="demo-table")

    def listen(self, run: Any) -> None:
        """Connects the button; ``run`` is the component of the chosen students."""
        event = {
            "inputs": [run, self._files],
            "outputs": [self._told, self._table],
            **QUIET,
            "show_progress": "minimal",
        }
        self._begin.click(self._classify, **event)

    def _classify(self, run_ids: list[str] | None, files: list[str] | None) -> tuple[str, Any]:
        hidden = gr.update(visible=False)
        if not run_ids or not files:
            missing = "a student" if not run_ids else "some pictures"
            return f'<div class="kd-empty">Choose {missing} first.</div>', hidden
        target = Path(tempfile.mkdtemp(prefix="kd-demo-")) / "answers.csv"
        sources = [(Path(file).name, str(file)) for file in files]
        try:
            told = self._worker.call("classify_all", run_ids, sources, str(target), patience_s=PATIENCE_S)
        except KdError as error:
            return boxes.refusal(error), hidden
        return _summary(told), gr.update(visible=True, value=str(target))


def _summary(told: dict[str, Any]) -> str:
    e = text.escape
    refused = f", {told['refused']} could not be read" if told["refused"] else ""
    heads = "".join(f"<th>{e(name)}</th>" for name in told["students"])
    rows = "".join(
        f"<tr><td>{e(file)}</td>"
        + (
            f'<td colspan="{len(tops)}">{e(problem)}</td>'
            if problem
            else "".join(f"<td>{e(name)} <span class='sub'>{text.percent(share)}</span></td>" for name, share in tops)
        )
        + "</tr>"
        for file, tops, problem in told["first"]
    )
    more = told["count"] - len(told["first"])
    rest = f'<p class="kd-facts">and {more:,} more in the table</p>' if more else ""
    return (
        f'<p class="kd-lead">{told["count"]:,} pictures{refused}.</p><div class="kd-tablebox"><table class="kd-table">'
        f"<thead><tr><th>File</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{rest}"
    )
