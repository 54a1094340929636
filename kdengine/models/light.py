"""Compressed ResNets and VGG-11: their 3x3 convolutions grouped or depthwise separable.

Ni & Ma, J. BUPT 2023(6):66-71, "lightweight self-distillation"; only the abstract is public: grouped and depthwise
separable convolutions compress a ResNet and VGG-11. Layout and number of groups are our choice. Stem and shortcuts stay
dense, and every shape outside of the blocks stays that of the plain net. VGG-11 has one linear layer as its head.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor, nn
from typing_extensions import override

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone, ModelDefinition
from kdengine.models.derived import plain_net
from kdengine.registry import MODELS
from kdengine.spec.fields import Settings, setting


class LightParams(Settings):
    """Which light convolution stands where."""

    layout: Literal["mix", "grouped", "separable"] = setting(
        "mix",
        title="Light layout",
        description="mix: grouped and depthwise separable convolutions in turn; grouped, separable: one kind only.",
        source="the paper's abstract names both kinds; taking turns is our choice",
    )
    groups: int = setting(
        8,
        title="Groups",
        description="Groups of a grouped convolution: more make the net smaller, 4 is the safe setting.",
        ge=1,
        le=64,
        source="our choice: 7 times fewer weights for ResNet-18",
    )
    shuffle: bool = setting(
        True,
        title="Channel shuffle",
        description="grouped layout: mix the channels before a grouped convolution that follows another one, which "
        "would see its own group's channels only.",
        source="our choice, after ShuffleNet",
        advanced=True,
    )


class NarrowLightParams(LightParams):
    """The same for nets of 16 to 64 channels, where eight groups would leave two channels to each."""

    groups: int = setting(
        4,
        title="Groups",
        description="Groups of a grouped convolution: more make the net smaller.",
        ge=1,
        le=64,
        source="our choice, by validation on digits: benchmarks/results/accuracy_light_choices.md",
    )


class ChannelShuffle(nn.Module):
    """Deals the channels of each group out to all groups: (B, C, H, W) -> same, channel g C/G + k -> k G + g."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    @override
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        return found


def _make_resnet(name: str, num_classes: int, image_size: int, params: LightParams) -> Backbone:
    backbone = plain_net(name, num_classes, image_size)
    blocks = [block for stage in _stages(backbone.body) for block in stage.children()]
    places = [(block, conv) for block in blocks for conv in ("conv1", "conv2")]
    for number, (block, conv) in enumerate(places):
        setattr(block, conv, _light_conv(getattr(block, conv), number, params))
    return backbone


def _make_vgg(name: str, num_classes: int, image_size: int, params: LightParams) -> Backbone:
    backbone = plain_net(name, num_classes, image_size)
    features: nn.Sequential = backbone.body.features  # type: ignore[assignment]
    places = [index for index, layer in enumerate(features) if isinstance(layer, nn.Conv2d)][1:]
    for number, index in enumerate(places):
        features[index] = _light_conv(features[index], number, params)  # type: ignore[arg-type]
    backbone.body.avgpool = nn.AdaptiveAvgPool2d(1)
    backbone.body.classifier = nn.Sequential(nn.Linear(512, num_classes))
    return backbone


def _stages(body: nn.Module) -> list[nn.Module]:
    return [layer for name, layer in body.named_children() if name.startswith("layer")]


def _light_conv(conv: nn.Conv2d, number: int, params: LightParams) -> nn.Module:
    """The light form of the ``number``-th 3x3 convolution behind the stem, counted from 0."""
    if params.layout == "grouped":
        grouped = _grouped(conv, params.groups)
        return nn.Sequential(ChannelShuffle(params.groups), grouped) if params.shuffle and number > 0 else grouped
    if params.layout == "mix" and number % 2 == 0:
        return _grouped(conv, params.groups)
    return _separable(conv)


def _grouped(conv: nn.Conv2d, groups: int) -> nn.Conv2d:
    for channels in (conv.in_channels, conv.out_channels):
        if channels % groups:
            message = f"{groups} groups do not divide the {channels} channels of a convolution; take 2, 4, 8 or 16"
            raise BadInput(Problem("student.groups", message))
    return _conv(conv.in_channels, conv.out_channels, 3, conv.stride, groups)


def _separable(conv: nn.Conv2d) -> nn.Sequential:
    """Depthwise 3x3, batch normalisation, ReLU, pointwise: the order of MobileNet."""
    channels = conv.in_channels
    return nn.Sequential(
        _conv(channels, channels, 3, conv.stride, channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        _conv(channels, conv.out_channels, 1, 1, 1),
    )


def _conv(channels_in: int, channels: int, size: int, stride: int | tuple[int, ...], groups: int) -> nn.Conv2d:
    """A convolution without bias, since batch normalisation follows; padded to keep the map's size at stride 1."""
    conv = nn.Conv2d(channels_in, channels, size, stride, size // 2, groups=groups, bias=False)  # type: ignore[arg-type]
    # The usual fan_out counts all output channels, of which one group's input reaches only its own.
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    return conv


for _name, _make, _summary, _params, _min_size in (
    ("resnet18_light", _make_resnet, "ResNet-18 with grouped and depthwise separable convolutions", LightParams, 8),
    ("resnet34_light", _make_resnet, "ResNet-34 with grouped and depthwise separable convolutions", LightParams, 8),
    ("vgg11_light", _make_vgg, "VGG-11 of grouped and separable convolutions, one linear layer", LightParams, 32),
    ("resnet20_light", _make_resnet, "CIFAR ResNet-20 of grouped and separable convolutions", NarrowLightParams, 8),
):
    MODELS.register(_name)(ModelDefinition(_name, _summary, partial(_make, _name), _params, min_size=_min_size))
