"""Whether a student trains faster in bfloat16 on this CPU, timed: it depends on the processor and on the network.

Seen: with AMX, MobileNetV3-small takes 2.3 times as long and ResNet8x4 half as long; on an AMD EPYC with AVX512-BF16,
MobileNetV3-small 1.6 times as long, MobileNetV2 and a ResNet18 of grouped convolutions less than in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone
from kdengine.tuning.cache import Times, open_times
from kdengine.tuning.steps import images_of, step_of, words_of
from kdengine.tuning.timing import MARGIN, Budget, least_seconds

FP32, BF16 = "float32", "bfloat16"
BUDGET_S = 2.0


def precision_times(student: Backbone, batch_size: int, cache: Path, budget_s: float = BUDGET_S) -> Mapping[str, float]:
    """Least seconds of a forward and backward pass in both precisions; {} where the budget was spent before.

    Args:
        student: on the CPU.
        batch_size: images in a batch.
        cache: folder of the workspace.
        budget_s: seconds for measuring.
    """
    images = images_of(student, batch_size)
    what, candidates = f"{words_of(student, images)}, precisions", {FP32: None, BF16: torch.bfloat16}

    def measure() -> Times:
        calls = {name: step_of(student, torch.channels_last, images, reduced) for name, reduced in candidates.items()}
        return least_seconds(calls, Budget(budget_s))

    with open_times(cache) as known:
        return known.get_or_measure(what, set(candidates), measure)


def slower_in_bf16(student: Backbone, batch_size: int, cache: Path) -> bool:
    """Whether the student trains more slowly in bfloat16 than in float32 on this CPU."""
    times = precision_times(student, batch_size, cache)
    return bool(times) and times[BF16] > (1 + MARGIN) * times[FP32]


def check_bf16_student(student: Backbone, batch_size: int, cache: Path) -> None:
    """Raises BadInput for a student that this CPU trains more slowly in bfloat16."""
    if slower_in_bf16(student, batch_size, cache):
        times = precision_times(student, batch_size, cache)
        longer = f"{times[BF16] / times[FP32]:.1f} times as long, as timed here"
        message = f"this CPU trains {student.name} in bf16 {longer}; choose bf16_teacher or fp32"
        raise BadInput(Problem("runtime.precision", message))
