"""MobileNetV2 (Sandler et al., CVPR 2018) on torchvision's body, and the half-width form of the distillation tables.

mobilenet_v2, small-image form (up to 64 px): stem stride 1 (2 at 64 px) and the first stride-2 block at stride 1, as
for MobileNetV3, so that the last map is 4x4 at 32 px.

mobilenet_v2_half is ``mobile_half`` of RepDistiller and mdistiller (models/mobilenetv2.py; width 0.5, expansion 6): up
to 64 px the stem has stride 2 and the first wide block stride 1, so that the last map is 2x2 at 32 px; the first block
expands its input too, although by 1; ReLU instead of ReLU6; no dropout. Above 64 px, where RepDistiller has no form, it
has the paper's strides.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from kdengine.models.backbone import SMALL_IMAGE, Backbone, ModelDefinition, stem_stride
from kdengine.models.mobilenetv3 import MobileNetV3, set_stride
from kdengine.registry import MODELS
from kdengine.spec.fields import NoSettings, Settings, setting

_ENDS = (3, 6, 13, 18)
_FIRST_STRIDED = 2


class MobileNetV2Params(Settings):
    """Options of MobileNetV2."""

    dropout: float = setting(
        0.2,
        title="Dropout",
        description="Share of the embedding dropped in training.",
        ge=0,
        lt=1,
        source="torchvision, as published",
        advanced=True,
    )


class MobileNetV2(MobileNetV3):
    """Four stages as `MobileNetV3` has them: (24, 32, 96, 1280) channels, (12, 16, 48, 1280) at half width."""


def _make(num_classes: int, image_size: int, params: MobileNetV2Params) -> Backbone:
    import torchvision

    body = torchvision.models.mobilenet_v2(weights=None, num_classes=num_classes, dropout=params.dropout)
    if image_size <= SMALL_IMAGE:
        set_stride(body.features[0], stem_stride(image_size))
        set_stride(body.features[_FIRST_STRIDED], 1)
    return _backbone(body, "mobilenet_v2", image_size)


def _make_half(num_classes: int, image_size: int, params: NoSettings) -> Backbone:
    import torchvision

    body = torchvision.models.MobileNetV2(num_classes, width_mult=0.5, round_nearest=1, dropout=0.0)
    first = body.features[1].conv
    expansion = torchvision.ops.Conv2dNormActivation(16, 16, 1, activation_layer=nn.ReLU)
    nn.init.kaiming_normal_(expansion[0].weight, mode="fan_out")
    first.insert(0, expansion)
    if image_size <= SMALL_IMAGE:
        set_stride(body.features[_FIRST_STRIDED], 1)
    for module in list(body.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU(inplace=True))
    return _backbone(body, "mobilenet_v2_half", image_size)


def _backbone(body: Any, name: str, image_size: int) -> Backbone:
    body.avgpool = nn.AdaptiveAvgPool2d(1)  # has no weights: they stay those of torchvision
    return MobileNetV2(body, name, image_size, _ENDS)


MODELS.register("mobilenet_v2")(
    ModelDefinition(
        "mobilenet_v2", "MobileNetV2: inverted residuals, depthwise convolutions, for phones", _make, MobileNetV2Params
    )
)
MODELS.register("mobilenet_v2_half")(
    ModelDefinition("mobilenet_v2_half", "MobileNetV2 at half width, as RepDistiller has it for CIFAR", _make_half)
)
