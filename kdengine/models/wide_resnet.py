"""Wide residual networks for small images (Zagoruyko & Komodakis, BMVC 2016): wrn_16_2, wrn_40_2, wrn_40_1.

``wrn_<depth>_<k>``: depth 6n+4, three stages of n pre-activation blocks, widths 16k-32k-64k. Layers are those of
RepDistiller and mdistiller (models/wrn.py) without dropout. Stage maps are taken after the batch normalisation and ReLU
that follow a stage, as all stages here are after activation; RepDistiller gives the sums before them. There is no
published form for ImageNet; from 64 px on the stem has stride 2.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from kdengine.models.backbone import Backbone, ModelDefinition, Outputs, stem_stride
from kdengine.registry import MODELS
from kdengine.spec.fields import NoSettings


class PreActivationBlock(nn.Module):
    """BN - ReLU - conv3x3 - BN - ReLU - conv3x3, plus shortcut: (B, C, H, W) -> (B, C', H/stride, W/stride).

    A block that changes the width projects what its first ReLU gives; the others pass on their input itself.

    Args:
        activated: the input went through BN and ReLU already, so the block has none of its own in front.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, *, activated: bool) -> None:
        super().__init__()
        self.bn1 = None if activated else nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    @override
    def forward(self, x: Tensor) -> Tensor:
        active = x if self.bn1 is None else F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        found: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active)))) + shortcut
        return found


class WideResNetBody(nn.Module):
    """Stem, three stages of ``blocks`` blocks, each closed by BN and ReLU, pooling, linear classifier.

    Args:
        blocks: blocks a stage; depth is 6 * blocks + 4.
        factor: k; widths are 16k, 32k, 64k behind a stem of 16.
        stride: stride of the stem.
    """

    def __init__(self, blocks: int, factor: int, num_classes: int, stride: int) -> None:
        super().__init__()
        widths = (16 * factor, 32 * factor, 64 * factor)
        self.conv1 = nn.Conv2d(3, 16, 3, stride, 1, bias=False)
        self.layer1 = self._stage(16, widths[0], blocks, 1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer2 = self._stage(widths[0], widths[1], blocks, 2)
        self.bn2 = nn.BatchNorm2d(widths[1])
        self.layer3 = self._stage(widths[1], widths[2], blocks, 2)
        self.bn3 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    @staticmethod
    def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        # Behind a stage there is its BN and ReLU; behind the stem (stride 1) there is none.
        first = PreActivationBlock(channels_in, channels, stride, activated=stride > 1)
        others = (PreActivationBlock(channels, channels, 1, activated=False) for _ in range(blocks - 1))
        return nn.Sequential(first, *others)


class WideResNet(Backbone):
    """Three stages: what layer1..layer3 give, after BN and ReLU."""

    body: WideResNetBody

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.fc

    @override
    def forward(self, x: Tensor) -> Outputs:
        body = self.body
        x = body.conv1(x)
        stages = []
        for layer, norm in ((body.layer1, body.bn1), (body.layer2, body.bn2), (body.layer3, body.bn3)):
            x = F.relu(norm(layer(x)))
            stages.append(x)
        embedding = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return Outputs(body.fc(embedding), embedding, tuple(stages))


def _make(name: str, depth: int, factor: int, num_classes: int, image_size: int, params: NoSettings) -> Backbone:
    body = WideResNetBody((depth - 4) // 6, factor, num_classes, stem_stride(image_size))
    return WideResNet(body, name, image_size)


for _depth, _factor in ((16, 2), (40, 2), (40, 1)):
    _name = f"wrn_{_depth}_{_factor}"
    MODELS.register(_name)(
        ModelDefinition(
            _name,
            f"Wide ResNet of depth {_depth}, {16 * _factor}-{64 * _factor} channels",
            partial(_make, _name, _depth, _factor),
        )
    )
