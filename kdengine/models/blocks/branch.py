"""A shallow exit: a head on an early stage of a net that predicts on its own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models.blocks.resize import shrink


class Branch(nn.Module):
    """Depthwise-separable blocks down to the side and width of a deeper map, pooling, and a linear layer.

    Each block halves the side and doubles the channels, up to the width of the end. From 64, 128 and 256 channels at
    32, 16 and 8 px to 512 at 4 px it takes 177,856, 168,832 and 134,400 weights before the linear layer; the bottleneck
    branches of SCAN (1,124,608, 346,368, 166,144) are what it replaces.

    Args:
        start: (C, H, W) of the stage it is attached to.
        end: (C, H, W) of the map it leads to; not larger than the start's.
        classes: columns of its logits.
    """

    def __init__(self, start: tuple[int, int, int], end: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.size = end[1], end[2]
        channels, side, _ = start
        blocks: list[nn.Module] = []
        while (side + 1) // 2 >= end[1] and side > end[1]:
            wider = min(channels * 2, end[0]) if channels < end[0] else end[0]
            blocks.append(_separable(channels, wider, stride=2))
            channels, side = wider, (side + 1) // 2
        if channels != end[0] or not blocks:
            blocks.append(_separable(channels, end[0], stride=1))
        self.body = nn.Sequential(*blocks)
        self.classifier = nn.Linear(end[0], classes)

    def map(self, stage: Tensor) -> Tensor:
        """Stage (B, C, H, W) -> map of the end's shape, after activation."""
        return shrink(self.body(stage), self.size, F.avg_pool2d)

    def forward(self, stage: Tensor) -> tuple[Tensor, Tensor]:
        """Stage (B, C, H, W) -> pooled feature (B, D), logits (B, classes)."""
        feature = F.adaptive_avg_pool2d(self.map(stage), 1).flatten(1)
        return feature, self.classifier(feature)


def _separable(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
