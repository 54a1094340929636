"""What the machine can do at most: a large matrix product and a large copy, measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Ceilings(NamedTuple):
    """Floating-point operations and bytes a second, and the bytes of a number in that precision."""

    flops: float
    bytes: float
    bytes_each: int = 4


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
    moved = 2 * source.numel() * source.element_size()
    return Ceilings(2 * side**3 / product, moved / copy, torch.finfo(dtype).bits // 8)


def _seconds(call: Callable[[], object], device: torch.device, repeats: int = 9) -> float:
    """Least seconds of a call: what others take of the machine is no ceiling.

    On a CPU, CPU time shared by the threads, which leaves out most of what others take.
    """
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    taken = []
    for _ in range(repeats + 2):
        began = clock()
        call()
        if cuda:
            torch.cuda.synchronize(device)
        taken.append((clock() - began) / (1 if cuda else torch.get_num_threads()))
    return min(taken[2:])
