"""The part of the Runs page where a person says how many runs share a GPU."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import boxes
from app.events import quiet
from kdengine.errors import BadInput, KdError, Problem
from kdengine.jobs import Placement
from kdengine.jobs.settings import jobs_per_gpu, set_jobs_per_gpu
from kdengine.workspace import Workspace

INFO = (
    "Small runs leave most of a card idle. Each starts only where enough memory is free, and gets its share of the "
    "cores. It holds from the next start on; empty: what KD_JOBS_PER_GPU says, else 1."
)


def build(workspace: Workspace, page: gr.Blocks) -> None:
    """Draws it into the current Gradio context."""
    with gr.Accordion("Queue", open=False, elem_id="queue-box"):
        number = gr.Number(None, label="Runs at once on a GPU", info=INFO, precision=0, elem_id="jobs-per-gpu")
        save = gr.Button("Set", size="sm", elem_id="jobs-per-gpu-set", min_width=70)
        said = gr.HTML("", elem_id="jobs-per-gpu-said")
    silent = quiet(said)

    def keep(wanted: Any) -> str:
        try:
            if isinstance(wanted, float) and not wanted.is_integer():
                raise BadInput(Problem("jobs_per_gpu", f"found {wanted}, expected a whole number"))
            set_jobs_per_gpu(workspace, None if wanted in (None, "", 0) else int(wanted))
        except KdError as error:
            return boxes.error(error)
        return boxes.note(f"{counted(workspace)} at once on a GPU from now on.")

    def arrive() -> list[Any]:
        return [jobs_per_gpu(workspace), boxes.note(f"{counted(workspace)} at once on a GPU now.")]

    page.load(arrive, None, [number, said], **silent)
    save.click(keep, number, said, **silent)


def counted(workspace: Workspace) -> str:
    """How many runs share a GPU, in words."""
    try:
        count = Placement(per_gpu=lambda: jobs_per_gpu(workspace)).jobs_per_gpu
    except BadInput as error:
        return str(error)
    return "One run" if count == 1 else f"{count} runs"
