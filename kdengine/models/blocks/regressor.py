"""From a student's map to a teacher's: the channels by a convolution, the sides by pooling the larger map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models.blocks.resize import shrink


class Regressor(nn.Sequential):
    """1x1 convolution, batch normalisation and ReLU: (B, C, H, W) -> (B, C', H, W).

    Args:
        channels_in: C.
        channels_out: C'.
        relu: whether it ends in a ReLU; off for targets that go below zero.
    """

    def __init__(self, channels_in: int, channels_out: int, relu: bool = True) -> None:
        parts: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)]
        super().__init__(*parts, *([nn.ReLU()] if relu else []))


def common_side(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps (B, C, H, W), (B, C', H', W') at the smaller height and width of the two, by average pooling."""
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    return shrink(first, size, F.avg_pool2d), shrink(second, size, F.avg_pool2d)
