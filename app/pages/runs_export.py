"""The panel "Export" on the Runs page: choose a form, see what was measured of it, take the files away."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, text
from app.events import QUIET
from app.worker import Worker
from kdengine.errors import KdError

FORMS = [("safetensors (PyTorch)", "safetensors"), ("ONNX", "onnx")]
COLUMNS = ("File", "Size", "Accuracy", "Same class", "ms a picture")


class Panel:
    """The panel in the current Gradio context, its outcome emptied when another run is chosen."""

    def __init__(self, worker: Worker, chosen: gr.State) -> None:
        with gr.Accordion("Export", open=False, visible=False, elem_id="export") as self.box:
            form = gr.Radio(FORMS, value="safetensors", label="Form", elem_id="export-format")
            with gr.Row():
                int8 = gr.Checkbox(
                    False, label="8 bits too", info="Weights and activations; the accuracy is measured.",
                    visible=False, elem_id="export-int8",
                )  # fmt: skip
                self.exits = gr.Checkbox(
                    False, label="Early exits too", info="Each in a file of its own.", visible=False,
                    elem_id="export-exits",
                )  # fmt: skip
            begin = gr.Button("Make the files", size="sm", elem_id="export-begin")
            outcome = gr.HTML("", elem_id="export-outcome", apply_default_css=False)
            download = gr.DownloadButton("Download", size="sm", visible=False, elem_id="export-download")

        def make(run_id: str, form: str, int8: bool, exits: bool) -> Iterator[list[Any]]:
            hidden = gr.update(visible=False)
            yield [boxes.note("Writing the files and trying them on test pictures; ONNX takes up to a minute…"), hidden]
            place = Path(tempfile.mkdtemp(prefix="kd-export-"))
            folder = place / f"{run_id}-{form}"
            request = {"format": form, "int8": int8 and form == "onnx", "exits": exits}
            try:
                found = worker.call("export", run_id, str(folder), request)
                archive = shutil.make_archive(str(folder), "zip", root_dir=place, base_dir=folder.name)
            except KdError as error:
                yield [boxes.error(error), hidden]
                return
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            yield [_found(found), gr.update(value=archive, visible=True)]

        form.change(lambda form: gr.update(visible=form == "onnx"), form, int8, **QUIET)
        begin.click(
            make,
            [chosen, form, int8, self.exits],
            [outcome, download],
            trigger_mode="once",
            concurrency_limit=2,
            **QUIET,
        )
        chosen.change(lambda: ["", gr.update(visible=False), False], None, [outcome, download, self.exits], **QUIET)


def _found(found: dict[str, Any]) -> str:
    head = "".join(f'<th class="{"r" if number else ""}">{title}</th>' for number, title in enumerate(COLUMNS))
    body = "".join(f"<tr>{_row(network)}</tr>" for network in found["networks"])
    loads = found["loading"]
    alone = f"The weights load in {loads['library']} alone. " if loads and loads["library"] != "kdengine" else ""
    return (
        f'<div class="kd-tablebox"><table class="kd-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'</div><p class="kd-facts">{text.escape(alone)}On {found["pictures"]:,} test pictures; one thread of '
        f"{text.escape(found['hardware'])}. README.md in the archive has code that runs.</p>"
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
