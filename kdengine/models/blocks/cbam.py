"""Convolutional block attention (CBAM): Woo et al., ECCV 2018; form after Jongchan/attention-module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CBAM(nn.Module):
    """A gate a channel, then a gate a place of the map so gated.

    Channels: mean and maximum over the map, each through the same two linear layers (hidden: C / 16, at least 1),
    added. Places: mean and maximum over the channels, a 7x7 convolution with batch normalisation. Deviates from the
    repository in the momentum of that normalisation: 0.1 instead of 0.01, which short runs need.

    Args:
        channels: C of the maps.
        reduction: channels to each hidden unit.
        kernel_size: side of the convolution over places, odd.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.place = nn.Sequential(
            nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False), nn.BatchNorm2d(1)
        )

    def mask(self, x: Tensor) -> Tensor:
        """What the map is multiplied by: both gates together, the shape of ``x``, in (0, 1)."""
        channels = torch.sigmoid(self.channel(x.mean((2, 3))) + self.channel(x.amax((2, 3))))[:, :, None, None]
        gated = x * channels
        over_channels = torch.cat((gated.amax(1, keepdim=True), gated.mean(1, keepdim=True)), 1)
        return channels * torch.sigmoid(self.place(over_channels))

    def forward(self, x: Tensor) -> Tensor:
        """``x * mask(x)``, (B, C, H, W)."""
        return x * self.mask(x)
