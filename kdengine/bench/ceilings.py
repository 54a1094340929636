"""What the machine can do at most: a large matrix product and a large copy, measured in the same run."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch


class Ceilings(NamedTuple):
    """Floating-point operations and bytes a second."""

    flops: float
    bytes: float


def ceilings(device: torch.device, dtype: torch.dtype = torch.float32) -> Ceilings:
    """Measures both: a matrix product of side 8192 and a copy of 8 GB on a GPU, 1536 and 256 MB on a CPU."""
    cuda = device.type == "cuda"
    side, numbers = (8192, 1 << 30) if cuda else (1536, 1 << 25)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.empty(numbers, device=device)
    target = torch.empty_like(source)
    product = _seconds(lambda: left @ right, device)
    copy = _seconds(lambda: target.copy_(source), device)
    # A copy reads and writes every byte.
    return Ceilings(2 * side**3 / product, 2 * source.numel() * source.element_size() / copy)


def _seconds(call: object, device: torch.device, repeats: int = 7) -> float:
    taken = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        call()  # type: ignore[operator]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])
