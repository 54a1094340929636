"""ShuffleNet V1 (Zhang et al., CVPR 2018, 3 groups) and V2 (Ma et al., ECCV 2018, width 1) as the tables have them.

Small-image form (up to 64 px) of RepDistiller and mdistiller (models/ShuffleNetv1.py, ShuffleNetv2.py): a 1x1 stem of
stride 1 and no early pooling, so that the last map is 4x4 at 32 px. At 64 px, which they do not have, the early pooling
of the published nets stays (a 1x1 stem of stride 2 would throw three of four pixels away), for 4x4 again.
Above 64 px: V2 is torchvision's net; V1, which torchvision lacks, has the paper's stem (3x3, stride 2, then pooling).

Beside the paper, V1 has a ReLU after the depthwise convolution, as RepDistiller has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from kdengine.models.backbone import SMALL_IMAGE, Backbone, ModelDefinition, Outputs
from kdengine.registry import MODELS
from kdengine.spec.fields import NoSettings

_GROUPS = 3
_STEM = 24
_V1_STAGES = ((240, 4), (480, 8), (960, 4))


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1: (B, C, H, W) -> same, or (B, channels, H/2, W/2).

    A unit of stride 2 appends its input, averaged 3x3, to what it computes; the others add it. The first unit of the
    net, whose input has only the stem's 24 channels, does not group its first convolution.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        computed = channels - channels_in if stride == 2 else channels
        middle = computed // 4
        groups = 1 if channels_in == _STEM else _GROUPS
        self.conv1 = nn.Conv2d(channels_in, middle, 1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.shuffle = nn.ChannelShuffle(groups)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, computed, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(computed)
        self.shortcut: nn.Module | None = nn.AvgPool2d(3, 2, 1) if stride == 2 else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        branch = self.shuffle(F.relu(self.bn1(self.conv1(x))))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        if self.shortcut is None:
            return F.relu(branch + x)
        return F.relu(torch.cat((branch, self.shortcut(x)), 1))


class ShuffleNetV1Body(nn.Module):
    """Stem, three stages, pooling, linear classifier; weights are drawn as PyTorch draws them, as in RepDistiller."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1)
        stages = []
        before = _STEM
        for channels, units in _V1_STAGES:
            others = (ShuffleUnit(channels, channels, 1) for _ in range(units - 1))
            stages.append(nn.Sequential(ShuffleUnit(before, channels, 2), *others))
            before = channels
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(before, num_classes)


class ShuffleNetV1(Backbone):
    """Three stages: the outputs of layer1..layer3."""

    body: ShuffleNetV1Body

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.fc

    @override
    def forward(self, x: Tensor) -> Outputs:
        body = self.body
        x = body.maxpool(F.relu(body.bn1(body.conv1(x))))
        stages = []
        for layer in (body.layer1, body.layer2, body.layer3):
            x = layer(x)
            stages.append(x)
        embedding = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return Outputs(body.fc(embedding), embedding, tuple(stages))


class ShuffleNetV2(Backbone):
    """Three stages: the last map of each resolution below the stem's, the deepest after the final 1x1 convolution."""

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.fc  # type: ignore[return-value]

    @override
    def forward(self, x: Tensor) -> Outputs:
        body = self.body
        first = body.stage2(body.maxpool(body.conv1(x)))  # type: ignore[operator]
        second = body.stage3(first)  # type: ignore[operator]
        third = body.conv5(body.stage4(second))  # type: ignore[operator]
        embedding = torch.flatten(F.adaptive_avg_pool2d(third, 1), 1)
        return Outputs(self.classifier(embedding), embedding, (first, second, third))


def _make_v1(num_classes: int, image_size: int, params: NoSettings) -> Backbone:
    body = ShuffleNetV1Body(num_classes)
    if image_size <= SMALL_IMAGE:
        body.conv1 = nn.Conv2d(3, _STEM, 1, bias=False)
    if image_size < SMALL_IMAGE:
        body.maxpool = nn.Identity()
    return ShuffleNetV1(body, "shufflenet_v1", image_size)


def _make_v2(num_classes: int, image_size: int, params: NoSettings) -> Backbone:
    import torchvision

    body = torchvision.models.shufflenet_v2_x1_0(weights=None, num_classes=num_classes)
    if image_size <= SMALL_IMAGE:
        body.conv1[0] = nn.Conv2d(3, _STEM, 1, bias=False)
    if image_size < SMALL_IMAGE:
        body.maxpool = nn.Identity()
    return ShuffleNetV2(body, "shufflenet_v2", image_size)


for _name, _summary, _make in (
    ("shufflenet_v1", "ShuffleNet V1 with 3 groups: grouped 1x1 convolutions and shuffled channels", _make_v1),
    ("shufflenet_v2", "ShuffleNet V2 of width 1: split, depthwise convolution, shuffled channels", _make_v2),
):
    MODELS.register(_name)(ModelDefinition(_name, _summary, _make))
