"""Blur pooling: Zhang, "Making convolutional networks shift-invariant again", ICML 2019.

Compared in numbers with the repository adobe/antialiased-cnns, whose licence does not allow to take code.
"""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from kdengine.errors import BadInput


class BlurPool(nn.Module):
    """Low-pass filter, then subsampling: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    The filter is the outer product of binomial coefficients, ``[1 2 1]`` for size 3, scaled to sum 1: a constant map
    stays as it is. The border is mirrored, filter_size // 2 pixels at right and bottom, (filter_size - 1) // 2 at left
    and top. Nothing is learned or stored: the weights of the plain net load as they are. Size 3 is our choice (the
    repository's default is 4); 3 is centred on pixels, 4 lies symmetrically between them.

    Args:
        channels: C of the maps.
        filter_size: 2 to 7.
        stride: step of the subsampling.

    Raises:
        BadInput: another filter size; in the forward pass: a map not larger than the mirrored border, which would have
            nothing to mirror. (No other border is taken silently: the result would differ between image sizes.)
    """

    kernel: Tensor

    def __init__(self, channels: int, filter_size: int = 3, stride: int = 2) -> None:
        super().__init__()
        if not 2 <= filter_size <= 7:
            raise BadInput(f"found a blur filter of size {filter_size}; sizes from 2 to 7 are known")
        row = torch.tensor([float(comb(filter_size - 1, k)) for k in range(filter_size)])
        kernel = torch.outer(row, row) / row.sum() ** 2
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)
        self.filter_size = filter_size
        self.stride = stride

    @override
    def forward(self, x: Tensor) -> Tensor:
        before, after = (self.filter_size - 1) // 2, self.filter_size // 2
        height, width = x.shape[2:]
        if min(height, width) <= after:
            raise BadInput(
                f"found a map of {height}x{width} pixels for a blur filter of size {self.filter_size}, which needs "
                f"more than {after} in each direction; use larger images or a smaller filter"
            )
        padded = mirrored(x, before, after)
        return F.conv2d(padded, self.kernel.to(x.dtype), stride=self.stride, groups=x.shape[1])


def mirrored(x: Tensor, before: int, after: int) -> Tensor:
    """(B, C, H, W) with a mirrored border, so many pixels before and after in each direction.

    The backward pass of PyTorch's padding is not deterministic on CUDA: where that is asked for, parts are flipped.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.pad(x, (before, after, before, after), mode="reflect")
    for dim in (2, 3):
        size = x.shape[dim]
        x = torch.cat([x.narrow(dim, 1, before).flip(dim), x, x.narrow(dim, size - 1 - after, after).flip(dim)], dim)
    return x
