"""Attention-based fusion of knowledge review: a map, and what was made of the deeper ones, merged place by place.

Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review. CVPR 2021, figure 3 (ABF); numbers of weights follow
dvlab-research/ReviewKD, CIFAR-100/model/reviewkd.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReviewFusion(nn.Module):
    """One step of the way from deep to shallow.

    ``fused = a * conv1x1(map) + b * deeper``, with gates a, b in (0, 1) at each place from a 1x1 convolution on both;
    the output is ``conv3x3(fused)``, in the module ``answer``: that is its name in checkpoints. Both convolutions carry
    a batch normalisation and no activation.

    Args:
        channels: of the student's map.
        width: of what is passed on; the same for all steps.
        channels_out: of the teacher's map.
        deeper: whether there is something deeper to fuse with; the first step has nothing.
    """

    def __init__(self, channels: int, width: int, channels_out: int, deeper: bool) -> None:
        super().__init__()
        self.lateral = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.answer = nn.Sequential(
            nn.Conv2d(width, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)
        )
        self.gates = nn.Conv2d(2 * width, 2, 1) if deeper else None
        for part in (self.lateral, self.answer):
            nn.init.kaiming_uniform_(part[0].weight, a=1)  # type: ignore[arg-type]

    def forward(self, stage: Tensor, deeper: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) and the deeper fused one (B, width, h, w) -> output (B, C', *size), fused (B, width, *size).

        ``size`` is that of the teacher's map; maps are resized to the nearest place.
        """
        fused = self.lateral(stage)
        if self.gates is not None and deeper is not None:
            below = F.interpolate(deeper, size=fused.shape[2:], mode="nearest")
            gates = torch.sigmoid(self.gates(torch.cat([fused, below], dim=1)))
            fused = fused * gates[:, :1] + below * gates[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size=size, mode="nearest")
        return self.answer(fused), fused
