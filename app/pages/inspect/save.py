"""Downloads of what the Inspect page shows: PNG and SVG as the browser draws it, HTML and npz from the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.events import QUIET
from app.pages.inspect.display import drawn
from app.pages.inspect.selection import Selection
from app.theme import ASSETS
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.figures.seen import arrays_of

SAVE_JS = (ASSETS / "save_drawings.js").read_text()
CLICK_JS = "() => setTimeout(() => document.querySelector('#inspect-file').click(), 100)"


@dataclass(eq=False)
class SavePanel:
    """The components: a button for each kind of file, and the file."""

    buttons: dict[str, Any]
    file: Any


def draw() -> SavePanel:
    """Draws them into the current Gradio context."""
    with gr.Row(elem_id="inspect-save"):
        buttons = {
            kind: gr.Button(label, size="sm", elem_id=f"inspect-{kind}", min_width=70)
            for kind, label in (("png", "PNG"), ("svg", "SVG"), ("html", "HTML"), ("npz", "npz"))
        }
        # Gradio's download button hands out the value it has when clicked: it is filled, then clicked.
        file = gr.DownloadButton(visible="hidden", elem_id="inspect-file")
    return SavePanel(buttons, file)


def wire(parts: SavePanel, handlers: SaveHandlers, offer: Any, inputs: list[Any]) -> None:
    """Connects components and handlers.

    Args:
        parts: the buttons.
        handlers: write the files.
        offer: component that holds what can be shown of the run.
        inputs: components of the form, in the order of `Selection`: ``run`` first and ``what`` third.
    """
    for kind in ("png", "svg"):
        script = f"(run, what) => ({SAVE_JS})('{kind}', 'inspect-' + what)"
        parts.buttons[kind].click(None, [inputs[0], inputs[2]], None, js=script, **QUIET)
    for kind in ("html", "npz"):
        written = parts.buttons[kind].click(_writing(handlers, kind), [offer, *inputs], parts.file, **QUIET)
        written.then(None, None, None, js=CLICK_JS, **QUIET)


class SaveHandlers:
    """Writes the files that are made on the server.

    Args:
        worker: computes the views.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def write(self, kind: str, offer: dict[str, Any], *values: Any) -> str | None:
        """The path of a file with the selected view; None where there is nothing.

        Args:
            kind: "html", a document with the drawings, or "npz", the arrays behind them.
            offer: what can be shown of the run.
            values: the fields of `Selection`.
        """
        if not offer:
            return None
        selection = Selection(*values)
        try:
            result = self.worker.call("inspect", selection.request(offer)[0])
        except KdError as error:
            gr.Warning(str(error))
            return None
        target = Path(tempfile.mkdtemp(prefix="kd-inspect-")) / f"inspect-{selection.what}.{kind}"
        if kind == "npz":
            np.savez_compressed(target, **arrays_of(result["seen"]))  # type: ignore[arg-type]
        else:
            from kdengine.figures.document import document

            title = f"{result['title']}: {' and '.join(seen.label for seen in result['seen'])}"
            target.write_text(document(title, result["sentence"], drawn(result, selection)))
        return str(target)


def _writing(handlers: SaveHandlers, kind: str) -> Callable[..., str | None]:
    def write(offer: dict[str, Any], *values: Any) -> str | None:
        return handlers.write(kind, offer, *values)

    return write
