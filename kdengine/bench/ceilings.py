"""What the machine can do at most: the quickest of several kernels, and a large copy, measured in the same run.

One kernel is not enough: MKL's float32 products reach 113 GFLOP/s on a core of an AMD EPYC whose convolutions, by
oneDNN, reach 285. A peak that is passed by what it is the peak of says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

PRODUCT = "matrix product"


class Ceilings(NamedTuple):
    """Operations and bytes a second, the bytes of a number in that precision, and the kernel that gave the first."""

    flops: float
    bytes: float
    bytes_each: int = 4
    kernel: str = PRODUCT


class Kernel(NamedTuple):
    """Something that multiplies: its name, the floating-point operations of a call, and the call."""

    name: str
    operations: float
    call: Callable[[], object]


def ceilings(device: torch.device, dtype: torch.dtype = torch.float32) -> Ceilings:
    """Measures both: the best of `kernels`, and a copy of 8 GB on a GPU, 256 MB on a CPU."""
    flops, kernel = max((each.operations / _seconds(each.call, device), each.name) for each in kernels(device, dtype))
    source = torch.empty(1 << 30 if device.type == "cuda" else 1 << 25, device=device)
    target = torch.empty_like(source)
    copy = _seconds(lambda: target.copy_(source), device)
    # A copy reads and writes every byte.
    moved = 2 * source.numel() * source.element_size()
    return Ceilings(flops, moved / copy, torch.finfo(dtype).bits // 8, kernel)


def kernels(device: torch.device, dtype: torch.dtype = torch.float32) -> list[Kernel]:
    """What may be quickest: a product by the BLAS; on a CPU also convolutions, whose 1x1 is oneDNN's product.

    A GPU is given its product alone: for a 3x3 convolution cuDNN may take an algorithm with fewer products than are
    counted here.
    """
    side = 8192 if device.type == "cuda" else 1536
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = Kernel(PRODUCT, 2 * side**3, lambda: torch.mm(left, right))
    if device.type == "cuda":
        return [product]
    # Channels, side of the map, side of the window; 64 images. Maps and channels as in the wide layers of our nets.
    sizes = ((128, 16, 3), (256, 8, 3), (512, 8, 1))
    return [product, *(_convolution(*each, dtype) for each in sizes)]


def _convolution(channels: int, side: int, window: int, dtype: torch.dtype, images: int = 64) -> Kernel:
    maps, weights = (
        torch.randn(*shape, dtype=dtype).to(memory_format=torch.channels_last)
        for shape in ((images, channels, side, side), (channels, channels, window, window))
    )
    operations = 2 * images * side**2 * channels**2 * window**2
    name = f"{window}x{window} convolution of {channels} channels"
    return Kernel(name, operations, lambda: F.conv2d(maps, weights, padding=window // 2))


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
