"""The narrow three-stage ResNets of the CIFAR literature: resnet8/20/32/56/110, and resnet8x4/32x4 of RepDistiller.

He et al., CVPR 2016, section 4.2 (depth 6n+2, widths 16-32-64). As in RepDistiller and mdistiller the shortcut at a
change of shape is a 1x1 convolution (He's option B), which is what the distillation tables are measured with; He's own
nets for CIFAR, and akamaster's published weights of them, have none there (option A, ``shortcut="pad"``). The "x4" nets
have widths 32-64-128-256 (stem 32, stages 64/128/256).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from kdengine.models.backbone import Backbone, ModelDefinition, Outputs, stem_stride
from kdengine.registry import MODELS
from kdengine.spec.fields import Settings, setting

Shortcut = Literal["conv", "pad"]


class CifarResNetParams(Settings):
    """What stands at the shortcuts where the shape changes."""

    shortcut: Shortcut = setting(
        "conv",
        neutral="conv",
        title="Shortcut",
        description="Where the shape changes: a 1x1 convolution, or none: every second pixel, new channels are zero.",
        source="He et al. 2016, options B and A",
        advanced=True,
    )


class PaddedShortcut(nn.Module):
    """He's option A: every ``stride``-th pixel, zero channels before and after: (B, C, H, W) -> (B, C', H', W').

    Has no weights. H' = ceil(H / stride). Of an odd number of new channels the last side gets one more.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (channels - channels_in) // 2
        self.padding = (0, 0, 0, 0, before, channels - channels_in - before)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


class BasicBlock(nn.Module):
    """conv3x3 - BN - ReLU - conv3x3 - BN, plus shortcut, then ReLU: (B, C, H, W) -> (B, C', H/stride, W/stride)."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: Shortcut = "conv") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride == 1 and channels_in == channels:
            return
        if shortcut == "pad":
            self.downsample = PaddedShortcut(channels_in, channels, stride)
        else:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    @override
    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class CifarResNetBody(nn.Module):
    """Stem, three stages of ``blocks`` basic blocks each, pooling, linear classifier.

    Args:
        blocks: blocks a stage; depth is 6 * blocks + 2.
        widths: channels of stem and the three stages.
        stride: stride of the stem.
        shortcut: where the shape changes.
    """

    def __init__(
        self,
        blocks: int,
        widths: tuple[int, int, int, int],
        num_classes: int,
        stride: int,
        shortcut: Shortcut = "conv",
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = self._stage(widths[0], widths[1], blocks, 1, shortcut)
        self.layer2 = self._stage(widths[1], widths[2], blocks, 2, shortcut)
        self.layer3 = self._stage(widths[2], widths[3], blocks, 2, shortcut)
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(channels_in: int, channels: int, blocks: int, stride: int, shortcut: Shortcut) -> nn.Sequential:
        first = BasicBlock(channels_in, channels, stride, shortcut)
        return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class CifarResNet(Backbone):
    """Three stages: the outputs of layer1..layer3."""

    body: CifarResNetBody

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.fc

    @override
    def forward(self, x: Tensor) -> Outputs:
        body = self.body
        x = F.relu(body.bn1(body.conv1(x)))
        stages = []
        for layer in (body.layer1, body.layer2, body.layer3):
            x = layer(x)
            stages.append(x)
        embedding = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return Outputs(body.fc(embedding), embedding, tuple(stages))


def _make(
    name: str,
    blocks: int,
    widths: tuple[int, int, int, int],
    num_classes: int,
    image_size: int,
    params: CifarResNetParams,
) -> Backbone:
    body = CifarResNetBody(blocks, widths, num_classes, stem_stride(image_size), params.shortcut)
    return CifarResNet(body, name, image_size)


_NARROW = (16, 16, 32, 64)
_WIDE = (32, 64, 128, 256)
for _depth, _widths, _suffix in (
    (8, _NARROW, ""),
    (20, _NARROW, ""),
    (32, _NARROW, ""),
    (56, _NARROW, ""),
    (110, _NARROW, ""),
    (8, _WIDE, "x4"),
    (32, _WIDE, "x4"),
):
    _name = f"resnet{_depth}{_suffix}"
    MODELS.register(_name)(
        ModelDefinition(
            _name,
            f"CIFAR ResNet of depth {_depth}, {_widths[1]}-{_widths[3]} channels",
            partial(_make, _name, (_depth - 2) // 6, _widths),
            CifarResNetParams,
        )
    )
