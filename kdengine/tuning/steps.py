"""Forward and backward passes of a copy of a student, to be timed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from kdengine.models.backbone import Backbone
from kdengine.tuning.work import macs_of

WORK = 5e9
"""Multiply-accumulates of a timed forward pass at most: a tenth of a second on a core, forward and back."""
MIN_IMAGES = 4


def images_of(student: Backbone, batch_size: int) -> int:
    """How many images of a batch are enough to time a step with."""
    return min(batch_size, max(MIN_IMAGES, int(WORK / max(1, macs_of(student)))))


def words_of(student: Backbone, images: int) -> str:
    """Names what is timed, whatever the student's options are."""
    macs = macs_of(student)
    what = f"{student.name} of {macs} multiply-accumulates at {student.image_size} px"
    return f"{what}, forward and backward, {images} images"


def step_of(
    student: Backbone, layout: torch.memory_format, images: int, reduced: torch.dtype | None
) -> Callable[[], None]:
    """A step on images of noise, on the CPU; the student itself and random states stay as they are."""
    net: Backbone = copy.deepcopy(student).train().to(memory_format=layout)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, student.image_size, student.image_size, generator=generator)
    x = x.contiguous(memory_format=layout)

    def step() -> None:
        # Dropout draws.
        with torch.random.fork_rng(devices=[]):
            with torch.autocast("cpu", dtype=reduced, enabled=reduced is not None):
                logits = net(x).logits
            logits.float().square().mean().backward()

    return step
