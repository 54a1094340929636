"""The panel "Queue" of the Runs page: how many runs share a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import boxes
from app.events import QUIET
from kdengine.errors import BadInput, KdError, Problem
from kdengine.jobs import Placement
from kdengine.jobs.settings import jobs_per_gpu, set_jobs_per_gpu
from kdengine.workspace import Workspace

INFO = (
    "Small runs leave most of a GPU idle. A run starts only where enough GPU memory is free, and gets its share of the "
    "CPU cores. Applies to runs that start from now on; empty: the value of KD_JOBS_PER_GPU, or 1."
)


@dataclass(eq=False)
class QueuePanel:
    """The components."""

    number: Any
    save: Any
    said: Any


def draw() -> QueuePanel:
    """Draws them into the current Gradio context."""
    with gr.Accordion("Queue", open=False, elem_id="queue-box"):
        number = gr.Number(None, label="Runs per GPU", info=INFO, precision=0, elem_id="jobs-per-gpu")
        save = gr.Button("Set", size="sm", elem_id="jobs-per-gpu-set", min_width=70)
        said = gr.HTML("", elem_id="jobs-per-gpu-said")
    return QueuePanel(number, save, said)


def wire(parts: QueuePanel, handlers: QueueHandlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    page.load(handlers.arrive, None, [parts.number, parts.said], **QUIET)
    parts.save.click(handlers.keep, parts.number, parts.said, **QUIET)


class QueueHandlers:
    """The event handlers of the panel.

    Args:
        workspace: whose queue it is.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def arrive(self) -> list[Any]:
        """The number that was set, no update without one, and the one that holds, in words.

        The field is empty from the start: a late update that says so again would empty what was typed by then.
        """
        number = jobs_per_gpu(self.workspace)
        return [gr.skip() if number is None else number, boxes.note(f"{counted(self.workspace)} per GPU now.")]

    def keep(self, wanted: Any) -> str:
        """Keeps a number, forgets it for an empty field; what holds now in words, or why not."""
        try:
            if isinstance(wanted, float) and not wanted.is_integer():
                raise BadInput(Problem("jobs_per_gpu", f"found {wanted}, expected a whole number"))
            set_jobs_per_gpu(self.workspace, None if wanted in (None, "", 0) else int(wanted))
        except KdError as error:
            return boxes.error(error)
        return boxes.note(f"{counted(self.workspace)} per GPU from now on.")


def counted(workspace: Workspace) -> str:
    """How many runs share a GPU, in words."""
    try:
        count = Placement(per_gpu=lambda: jobs_per_gpu(workspace)).jobs_per_gpu
    except BadInput as error:
        return str(error)
    return "One run" if count == 1 else f"{count} runs"
