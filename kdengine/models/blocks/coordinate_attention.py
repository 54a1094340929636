"""Coordinate attention: Hou et al., CVPR 2021; form after the repository houqb/CoordAttention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CoordinateAttention(nn.Module):
    """A gate for every row and one for every column, each channel its own; both see the whole map.

    The means over rows and over columns go through one shared 1x1 convolution to ``max(8, C // 32)`` channels with
    batch normalisation and hard swish, then each through its own 1x1 convolution and a sigmoid.

    Args:
        channels: C of the maps (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 32)
        self.shared = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.row = nn.Conv2d(hidden, channels, 1)
        self.column = nn.Conv2d(hidden, channels, 1)

    def start_equal(self) -> None:
        """Sets the last convolutions to zero: every gate starts at 1/2."""
        for conv in (self.row, self.column):
            nn.init.zeros_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Row gates a_h (B, C, H, 1) and column gates a_w (B, C, 1, W), each in (0, 1)."""
        height, width = x.shape[2:]
        rows = x.mean(3, keepdim=True)
        columns = x.mean(2, keepdim=True).transpose(2, 3)
        both = F.hardswish(self.norm(self.shared(torch.cat((rows, columns), 2))))
        of_rows, of_columns = both.split((height, width), 2)
        return torch.sigmoid(self.row(of_rows)), torch.sigmoid(self.column(of_columns.transpose(2, 3)))

    def mask(self, x: Tensor) -> Tensor:
        """What the map is multiplied by: a_h * a_w, the shape of ``x``, in (0, 1)."""
        rows, columns = self.gates(x)
        return rows * columns

    def forward(self, x: Tensor) -> Tensor:
        """``x * mask(x)``, (B, C, H, W)."""
        return x * self.mask(x)
