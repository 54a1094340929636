"""Taking away what the Inspect page shows: PNG and SVG as the browser draws it, HTML and npz from the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.events import QUIET
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.figures.seen import Drawing, arrays_of

SAVE_JS = (Path(__file__).parents[1] / "assets" / "save_drawings.js").read_text()
CLICK_JS = "() => setTimeout(() => document.querySelector('#inspect-file').click(), 100)"


class Panel:
    """The row of buttons."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        with gr.Row(elem_id="inspect-save"):
            self._buttons = {
                kind: gr.Button(label, size="sm", elem_id=f"inspect-{kind}", min_width=70)
                for kind, label in (("png", "PNG"), ("svg", "SVG"), ("html", "HTML"), ("npz", "npz"))
            }
            # Gradio's download button hands out the value it has when clicked: it is filled, then clicked.
            self._file = gr.DownloadButton(visible="hidden", elem_id="inspect-file")

    def listen(
        self,
        offer: Any,
        inputs: list[Any],
        to_worker: Callable[..., dict[str, Any]],
        draw: Callable[..., list[Drawing]],
    ) -> None:
        """Connects the buttons.

        Args:
            offer: state that ``to_worker`` takes first.
            inputs: components of the form, ``run`` first and ``what`` third.
            to_worker: values -> what the task takes.
            draw: the task's answer and the values -> drawings.
        """
        for kind in ("png", "svg"):
            script = f"(run, what) => ({SAVE_JS})('{kind}', 'inspect-' + what)"
            self._buttons[kind].click(None, [inputs[0], inputs[2]], None, js=script, **QUIET)

        def write(kind: str, found: dict[str, Any], *values: Any) -> str | None:
            if not found:
                return None
            try:
                answer = self._worker.call("inspect", to_worker(found, *values))
            except KdError as error:
                gr.Warning(str(error))
                return None
            target = Path(tempfile.mkdtemp(prefix="kd-inspect-")) / f"inspect-{values[2]}.{kind}"
            if kind == "npz":
                np.savez_compressed(target, **arrays_of(answer["seen"]))  # type: ignore[arg-type]
            else:
                from kdengine.figures.document import document

                title = f"{answer['title']}: {' and '.join(seen.label for seen in answer['seen'])}"
                target.write_text(document(title, answer["sentence"], draw(answer, *values)))
            return str(target)

        for kind in ("html", "npz"):

            def make(found: dict[str, Any], *values: Any, kind: str = kind) -> str | None:
                return write(kind, found, *values)

            self._buttons[kind].click(make, [offer, *inputs], self._file, **QUIET).then(
                None, None, None, js=CLICK_JS, **QUIET
            )
