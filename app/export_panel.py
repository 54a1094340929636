"""The panel that exports a student, on Runs and on Race: a format, what was measured, the files to download."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, text
from app.events import QUIET
from app.worker import Worker
from kdengine.errors import KdError

FORMATS = [("safetensors (PyTorch)", "safetensors"), ("ONNX", "onnx")]
COLUMNS = ("File", "Size", "Accuracy", "Agreement", "ms per image")


@dataclass(eq=False)
class ExportPanel:
    """The components; the box and the early exits show for some runs only."""

    box: Any
    form: Any
    int8: Any
    exits: Any
    begin: Any
    outcome: Any
    download: Any


def draw(title: str = "Export", elem_id: str = "export") -> ExportPanel:
    """Draws them into the current Gradio context.

    Args:
        title: of the panel.
        elem_id: of the panel; those of its parts begin with it.
    """
    with gr.Accordion(title, open=False, visible=False, elem_id=elem_id) as box:
        form = gr.Radio(FORMATS, value="safetensors", label="Format", elem_id=f"{elem_id}-format")
        with gr.Row():
            int8 = gr.Checkbox(
                False, label="Also in 8 bits", info="Weights and activations; the accuracy is measured.",
                visible=False, elem_id=f"{elem_id}-int8",
            )  # fmt: skip
            exits = gr.Checkbox(
                False, label="Also the early exits", info="One file per exit.", visible=False,
                elem_id=f"{elem_id}-exits",
            )  # fmt: skip
        begin = gr.Button("Create the files", size="sm", elem_id=f"{elem_id}-begin")
        outcome = gr.HTML("", elem_id=f"{elem_id}-outcome", apply_default_css=False)
        download = gr.DownloadButton("Download", size="sm", visible=False, elem_id=f"{elem_id}-download")
    return ExportPanel(box, form, int8, exits, begin, outcome, download)


def wire(parts: ExportPanel, handlers: ExportHandlers, chosen: Any) -> None:
    """Connects components and handlers; ``chosen`` is the component with the chosen run's id."""
    parts.form.change(handlers.choose_form, parts.form, parts.int8, **QUIET)
    parts.begin.click(
        handlers.make, [chosen, parts.form, parts.int8, parts.exits], [parts.outcome, parts.download],
        trigger_mode="once", concurrency_limit=2, **QUIET,
    )  # fmt: skip
    chosen.change(handlers.forget, None, [parts.outcome, parts.download, parts.exits], **QUIET)


class ExportHandlers:
    """The event handlers of the panel.

    Args:
        worker: writes the files.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def choose_form(self, form: str) -> Any:
        """Whether 8 bits are offered."""
        return gr.update(visible=form == "onnx")

    def make(self, run_id: str, form: str, int8: bool, exits: bool) -> Iterator[list[Any]]:
        """Writes the files and packs them; words meanwhile, then what was measured and the archive, or why not."""
        hidden = gr.update(visible=False)
        yield [boxes.note("Writing the files and testing them on test images; ONNX takes up to a minute…"), hidden]
        place = Path(tempfile.mkdtemp(prefix="kd-export-"))
        folder = place / f"{run_id}-{form}"
        request = {"format": form, "int8": int8 and form == "onnx", "exits": exits}
        try:
            found = self.worker.call("export", run_id, str(folder), request)
            archive = shutil.make_archive(str(folder), "zip", root_dir=place, base_dir=folder.name)
        except KdError as error:
            yield [boxes.error(error), hidden]
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        yield [_found(found), gr.update(value=archive, visible=True)]

    def forget(self) -> list[Any]:
        """Another run was chosen: outcome and archive of the last one go."""
        return ["", gr.update(visible=False), False]


def _found(found: dict[str, Any]) -> str:
    head = "".join(f'<th class="{"r" if number else ""}">{title}</th>' for number, title in enumerate(COLUMNS))
    body = "".join(f"<tr>{_row(network)}</tr>" for network in found["networks"])
    loads = found["loading"]
    alone = f"The weights load with {loads['library']} alone. " if loads and loads["library"] != "kdengine" else ""
    return (
        f'<div class="kd-tablebox"><table class="kd-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'</div><p class="kd-facts">{text.escape(alone)}On {found["images"]:,} test images, with one thread of '
        f"{text.escape(found['hardware'])}. README.md in the archive has example code.</p>"
    )


def _row(network: dict[str, Any]) -> str:
    cells = (
        text.escape(network["file"] or network["holds"]),
        text.size(network["bytes"]),
        text.percent(network["accuracy"]),
        text.percent(network["agreement"]),
        f"{network['milliseconds']:.2f}",
    )
    return "".join(f'<td class="{"r" if number else ""}">{cell}</td>' for number, cell in enumerate(cells))
