"""The panel "My images" of the data card: an archive is uploaded, checked, and what was found is said with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, catalog, text
from app.events import QUIET
from app.pages.launch.form import Form
from kdengine.data.sources.examine import Found
from kdengine.data.sources.uploads import Kept, keep_upload
from kdengine.errors import KdError
from kdengine.spec.named_recipes import RECIPES

POLL_S = 0.3
USUAL_BATCH = RECIPES["quick"].settings["batch_size"]
MIN_BATCHES = 3
"""An epoch has at least so many steps with the batch that is set for few images."""


@dataclass(eq=False)
class UploadPanel:
    """The components; ``size`` holds the image size that was suggested."""

    box: Any
    file: Any
    outcome: Any
    leave_out: Any
    on_white: Any
    take_size: Any
    size: Any


def draw() -> UploadPanel:
    """Draws them into the current Gradio context."""
    with gr.Accordion("My images", open=False, elem_id="own-data") as box:
        file = gr.File(
            label="zip or tar: one folder per class, or train/ and test/ with one folder per class",
            height=90, elem_id="upload-data",
        )  # fmt: skip
        outcome = gr.HTML("", elem_id="upload-outcome")
        with gr.Row():
            leave_out = gr.Button("Leave out the corrupt", size="sm", visible=False, elem_id="upload-leave-out")
            on_white = gr.Button("Lay transparent parts on white", size="sm", visible=False, elem_id="upload-on-white")
            take_size = gr.Button("Use this size", size="sm", visible=False, elem_id="upload-take-size")
        size = gr.State(0)
    return UploadPanel(box, file, outcome, leave_out, on_white, take_size, size)


class UploadHandlers:
    """The event handlers of the panel.

    Args:
        form: whose data card it is on.
        usual: the usual settings for a choice of data, one for each shared control.
    """

    def __init__(self, form: Form, usual: Any) -> None:
        self.form = form
        self.usual = usual

    def take(self, path: str | None) -> Iterator[list[Any]]:
        """Checks an uploaded archive, stores it, and chooses it with its usual settings; or says why not,
        stores nothing and leaves the form as it is."""
        unchanged = [gr.skip()] * len(self.form.shared)
        hidden = [gr.update(visible=False)] * 3
        if path is None:
            yield [gr.skip(), "", *hidden, 0, *unchanged]
            return
        said = ["Checking the images…"]
        own = self.form.workspace.datasets / "own"
        with ThreadPoolExecutor(1) as beside:
            keeping = beside.submit(keep_upload, own, Path(path), Path(path).name, lambda _, words: said.append(words))
            while not keeping.done():
                yield [gr.skip(), boxes.note(said[-1]), *hidden, 0, *unchanged]
                wait([keeping], timeout=POLL_S)
        try:
            kept = keeping.result()
        except KdError as error:
            yield [gr.skip(), boxes.error(error), *hidden, 0, *unchanged]
            return
        choice = catalog.OWN + kept.path.name
        chosen = gr.update(choices=catalog.datasets(self.form.workspace), value=choice)
        settings = self._settings(choice, kept.found.train)
        yield [chosen, findings(kept), *self._remedies(choice, kept.found), *settings]

    def _settings(self, choice: str, images: int) -> list[Any]:
        """The usual ones, and a batch that so few images can fill where they are few."""
        batch = 1 << max(1, int(images / MIN_BATCHES).bit_length() - 1)
        return [
            batch if control.path == "recipe.batch_size" and batch < USUAL_BATCH else setting
            for control, setting in zip(self.form.shared, self.usual(choice), strict=True)
        ]

    def _remedies(self, choice: str, found: Found) -> list[Any]:
        """The three buttons, and the size that the last takes."""
        size = found.oddities.image_size
        corrupt = f"Leave out {found.corrupt} corrupt image{'s' if found.corrupt > 1 else ''}"
        return [
            gr.update(visible=found.corrupt > 0, value=corrupt),
            gr.update(visible=found.oddities.transparent > 0),
            gr.update(visible=size != catalog.data_definition(choice).default_image_size, value=f"Use {size} px"),
            size,
        ]


def wire(panel: UploadPanel, handlers: UploadHandlers) -> None:
    """Connects components and handlers."""
    form = handlers.form
    shared = [control.component for control in form.shared]
    outputs = [form.data, panel.outcome, panel.leave_out, panel.on_white, panel.take_size, panel.size, *shared]
    panel.file.upload(handlers.take, panel.file, outputs, **QUIET)
    own = {control.path.split(".")[-1]: control.component for control in form.own["data", "folder"]}
    panel.leave_out.click(lambda: "skip", None, own["on_corrupt"], **QUIET)
    panel.on_white.click(lambda: "white", None, own["transparent"], **QUIET)
    panel.take_size.click(lambda size: size, panel.size, form.component("data.image_size"), **QUIET)


def findings(kept: Kept) -> str:
    """What was found in an archive, as HTML."""
    found, odd = kept.found, kept.found.oddities
    counts = "".join(
        f'<tr><td>{text.escape(name)}</td><td class="r">{train:,}</td><td class="r">{test:,}</td></tr>'
        for name, train, test in zip(found.classes, odd.train, odd.test, strict=True)
    )
    shortest, middle, longest = odd.sides
    said = (
        f'<p class="kd-facts"><b>{text.escape(kept.path.name)} is stored</b>: {found.train:,} training and '
        f"{found.test:,} test images of {len(found.classes)} classes. Shorter sides {shortest} to {longest} px, half "
        f"of them {middle} px or more: {odd.image_size} px is the largest usual size that enlarges few. "
        f"Suggested metric: {odd.metric}.</p>"
        '<details><summary>Images per class</summary><table class="kd-table"><thead><tr><th>Class</th>'
        f'<th class="r">Training</th><th class="r">Test</th></tr></thead><tbody>{counts}</tbody></table></details>'
    )
    corrupt = [f"{found.corrupt} cannot be opened: {'; '.join(found.examples)}"] if found.corrupt else []
    return said + boxes.warnings([*corrupt, *found.left_out, *odd.warnings(found.classes)])
