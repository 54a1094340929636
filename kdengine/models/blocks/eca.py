"""Efficient channel attention (ECA): Wang et al., CVPR 2020; form after the public repository BangguWu/ECANet."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdengine.errors import BadInput


class ECA(nn.Module):
    """A gate a channel, from the means of the channel and its neighbours: a one-dimensional convolution, no bias.

    Args:
        channels: C of the maps.
        kernel_size: odd number of channels that each gate sees, and of weights; 3 is the repository's default.
            None takes an adaptive rule, as we recall the paper's: log2(C) / 2 + 1/2 cut to a whole number, the next
            odd one if that is even.

    Raises:
        BadInput: an even ``kernel_size``.
    """

    def __init__(self, channels: int, kernel_size: int | None = 3) -> None:
        super().__init__()
        if kernel_size is None:
            kernel_size = int(math.log2(channels) / 2 + 0.5) | 1
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise BadInput(f"found a kernel of {kernel_size} channels; it must be odd, to lie evenly around a channel")
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def mask(self, x: Tensor) -> Tensor:
        """What the map is multiplied by: (B, C, 1, 1), in (0, 1)."""
        means = x.mean((2, 3)).unsqueeze(1)
        return torch.sigmoid(self.conv(means)).transpose(1, 2).unsqueeze(3)

    def forward(self, x: Tensor) -> Tensor:
        """``x * mask(x)``, (B, C, H, W)."""
        return x * self.mask(x)
