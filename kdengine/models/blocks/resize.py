"""Bringing a map to the side of another, with windows of one size only.

Adaptive pooling would do the same, but its backward pass is not deterministic on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Pool = Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor]


def shrink(x: Tensor, size: tuple[int, int], pool: Pool) -> Tensor:
    """Pools a map down to exactly ``size``, as it is where it has that size already.

    Args:
        x: (B, C, H, W).
        size: (h, w) with h <= H and w <= W.
        pool: ``F.avg_pool2d`` or ``F.max_pool2d``; called with map, window and stride.

    Returns:
        (B, C, h, w): windows that touch or overlap, all of one size, and cover the whole map.
    """
    sides = x.shape[2], x.shape[3]
    if sides == size:
        return x
    strides = sides[0] // size[0], sides[1] // size[1]
    windows = sides[0] - (size[0] - 1) * strides[0], sides[1] - (size[1] - 1) * strides[1]
    return pool(x, windows, strides)
