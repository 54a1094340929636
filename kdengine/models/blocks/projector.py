"""The projector of SimKD: a bottleneck that turns a student's features into a teacher's.

Chen, Mei, Zhang, Wang, Feng, Chen: Knowledge Distillation with the Reused Teacher Classifier. CVPR 2022,
arXiv 2203.14001; layers and numbers of weights follow DefangChen/SimKD, models/util.py.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models.blocks.resize import shrink


class Projector(nn.Module):
    """conv1x1 to C' / factor, conv3x3, conv1x1 to C', each with batch normalisation and ReLU.

    Args:
        channels: C of the student's last map.
        channels_out: C' of the teacher's features.
        side: height and width of the teacher's map; a larger student's map is pooled to it first.
        factor: of the bottleneck; C' is divided by it.
        relu: whether the last layer is a ReLU too; off for features that go below zero.
    """

    def __init__(
        self, channels: int, channels_out: int, side: tuple[int, int], factor: int = 2, relu: bool = True
    ) -> None:
        super().__init__()
        self.side = side
        width = max(1, channels_out // factor)
        layers: list[nn.Module] = []
        for size, before, after in ((1, channels, width), (3, width, width), (1, width, channels_out)):
            conv = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*(layers if relu else layers[:-1]))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W'), H' the smaller of H and the teacher's side."""
        side = min(maps.shape[2], self.side[0]), min(maps.shape[3], self.side[1])
        found: Tensor = self.layers(shrink(maps, side, F.avg_pool2d))
        return found
