"""The memory layout that a student trains in, chosen by timing some of its steps in both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from kdengine.models.backbone import Backbone
from kdengine.tuning.cache import Times, open_times
from kdengine.tuning.steps import images_of, step_of, words_of
from kdengine.tuning.timing import Budget, least_seconds, preferred

CHANNELS_LAST, CONTIGUOUS = "channels_last", "contiguous"
LAYOUTS: Mapping[str, torch.memory_format] = {
    CHANNELS_LAST: torch.channels_last,
    CONTIGUOUS: torch.contiguous_format,
}
BUDGET_S = 1.0


def choose_layout(
    student: Backbone, batch_size: int, cache: Path, reduced: torch.dtype | None = None, budget_s: float = BUDGET_S
) -> tuple[str, Mapping[str, float]]:
    """The layout, and the least seconds of a forward and backward pass in each; {} where the budget was spent before.

    Args:
        student: on the CPU; its weights, statistics and gradients stay as they are, and so do random states.
        batch_size: images in a batch.
        cache: folder of the workspace.
        reduced: what it computes in under autocast; None = float32.
        budget_s: seconds for measuring.
    """
    images = images_of(student, batch_size)
    what = f"{words_of(student, images)}, {str(reduced or torch.float32).removeprefix('torch.')}"

    def measure() -> Times:
        calls = {name: step_of(student, layout, images, reduced) for name, layout in LAYOUTS.items()}
        return least_seconds(calls, Budget(budget_s))

    with open_times(cache) as known:
        times = known.get_or_measure(what, set(LAYOUTS), measure)
    return preferred(times, CHANNELS_LAST), times
