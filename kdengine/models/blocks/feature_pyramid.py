"""The self-teacher: a feature pyramid that goes through a net's maps from deep to shallow and back.

BiFPNc of Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself (FRSKD), CVPR 2021: EfficientDet's pyramid with
channels that grow with depth. Structure and numbers of weights follow MingiJi/FRSKD, models/bifpnc.py.
Deviations: the net's maps come after activation, where the official code takes them before it and applies the ReLU
itself (the same pyramid, but attention is compared after the ReLU); maps are resized to each other's exact side, so
that any net with two or more maps will do; the 1x1 convolution of the way down stands before the upsampling, where it
costs a quarter and gives the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models.blocks.resize import shrink

Shape = tuple[int, int, int]
TINY = 1e-6


class FeaturePyramid(nn.Module):
    """Refined maps of all stages, and a classifier on the deepest.

    ``down_i = blocks(lateral_i + down_{i+1} upsampled)`` from deep to shallow; then from shallow to deep
    ``T_i = blocks(lateral'_i + down_i + T_{i-1} pooled)``. Sums are weighted by learned shares; blocks are
    depthwise-separable.

    Args:
        stages: (C_i, H_i, W_i) of the net's maps, shallow to deep; two or more, sides not growing.
        classes: columns of its logits.
        width: channels of each refined map, as a multiple of the stage's. Stages of 64, 128, 256 and 512 channels with
            100 classes take 6,375,794 weights at width 2.
        depth: depthwise-separable layers a block.
    """

    def __init__(self, stages: Sequence[Shape], classes: int, width: float = 2.0, depth: int = 2) -> None:
        super().__init__()
        before = [channels for channels, _, _ in stages]
        after = [max(1, round(width * channels)) for channels in before]
        self.channels = tuple(after)
        self.lateral_down = nn.ModuleList(_pointwise(a, b) for a, b in zip(before, after, strict=True))
        self.lateral_up = nn.ModuleList(_pointwise(a, b) for a, b in zip(before[1:], after[1:], strict=True))
        pairs = list(itertools.pairwise(after))
        self.way_down = nn.ModuleList(_pointwise(deeper, shallower) for shallower, deeper in pairs)
        self.way_up = nn.ModuleList(_pointwise(shallower, deeper) for shallower, deeper in pairs)
        self.blocks_down = nn.ModuleList(_separable(channels, depth) for channels in after[:-1])
        self.blocks_up = nn.ModuleList(_separable(channels, depth) for channels in after[1:])
        self.shares_down = nn.ModuleList(_WeightedMean(2) for _ in pairs)
        # The deepest map has nothing of its own from the way down but its lateral.
        self.shares_up = nn.ModuleList(_WeightedMean(3 if index < len(pairs) - 1 else 2) for index in range(len(pairs)))
        self.classifier = nn.Linear(after[-1], classes)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Refined maps of all stages, after ReLU, and logits.

        Args:
            maps: of the stages, (B, C_i, H_i, W_i), after activation.

        Returns:
            [(B, width C_i, H_i, W_i), ...] and (B, classes).
        """
        down = self._go_down(maps)
        refined = [down[0]]
        for index in range(1, len(maps)):
            parts = [
                self.lateral_up[index - 1](maps[index]),
                self.way_up[index - 1](_pool(refined[-1], maps[index])),
            ]
            if index < len(maps) - 1:
                parts.append(down[index])
            refined.append(self.blocks_up[index - 1](self.shares_up[index - 1](parts)))
        return refined, self.classifier(F.adaptive_avg_pool2d(refined[-1], 1).flatten(1))

    def _go_down(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the way from deep to shallow, in the order of the stages."""
        found = [self.lateral_down[-1](maps[-1])]
        for index in range(len(maps) - 2, -1, -1):
            deeper = F.interpolate(self.way_down[index](found[0]), size=maps[index].shape[2:], mode="nearest")
            parts = [self.lateral_down[index](maps[index]), deeper]
            found.insert(0, self.blocks_down[index](self.shares_down[index](parts)))
        return found


class _WeightedMean(nn.Module):
    """Sum of maps weighted by learned shares, which are not negative and add up to 1."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(count))

    def forward(self, parts: list[Tensor]) -> Tensor:
        weights = F.relu(self.weights)
        shares = weights / (weights.sum() + TINY)
        return torch.stack([share * part for share, part in zip(shares.unbind(), parts, strict=True)]).sum(0)


def _pool(x: Tensor, like: Tensor) -> Tensor:
    """``x`` at the side of ``like``: maxima of 3x3 at half the side, as the official code, of plain windows else."""
    size = like.shape[2], like.shape[3]
    if size == ((x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2):
        return F.max_pool2d(x, 3, 2, 1)
    return shrink(x, size, F.max_pool2d)


def _pointwise(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())


def _separable(channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
