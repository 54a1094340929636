"""MobileNetV3 small and large (Howard et al., ICCV 2019) on torchvision's bodies.

Small-image form (up to 64 px): stem stride 1 (2 at 64 px) and the first stride-2 block at stride 1, so that the last
map is 4x4 at 32 px instead of 1x1.

The published batch-norm momentum of 0.01 (torchvision's convention) with eps 1e-3 is made for long ImageNet runs: in a
few hundred steps the running statistics never arrive, and a well trained net tests at chance level. Below 224 px the
default is therefore 0.1 and 1e-5.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from kdengine.models.backbone import SMALL_IMAGE, Backbone, ModelDefinition, Outputs, set_batch_norm, stem_stride
from kdengine.registry import MODELS
from kdengine.spec.fields import Settings, setting

PUBLISHED_SIZE = 224


class BatchNormParams(Settings):
    """Options shared by nets whose published batch-norm numbers are made for ImageNet."""

    batch_norm: Literal["auto", "published", "scratch"] = setting(
        "auto",
        title="Batch norm",
        description="scratch: momentum 0.1, eps 1e-5; published: the library's; auto: scratch below 224 px.",
        source="our choice: measured on digits, 10.6 % with the published numbers against 99.2 %",
        advanced=True,
    )

    def apply_to(self, body: nn.Module, image_size: int) -> None:
        """Sets the numbers chosen on every batch normalisation of ``body``."""
        if self.batch_norm == "scratch" or (self.batch_norm == "auto" and image_size < PUBLISHED_SIZE):
            set_batch_norm(body, momentum=0.1, eps=1e-5)


class MobileNetV3Params(BatchNormParams):
    """Options of MobileNetV3."""

    dropout: float = setting(
        0.2,
        title="Dropout",
        description="Share of the embedding dropped in training.",
        ge=0,
        lt=1,
        source="torchvision, as published",
        advanced=True,
    )


class MobileNetV3(Backbone):
    """Four stages: the last map of each resolution below the stem's, the deepest after the final 1x1 convolution.

    Args:
        ends: indices into ``body.features`` after which a stage ends.
    """

    def __init__(self, body: nn.Module, name: str, image_size: int, ends: tuple[int, ...]) -> None:
        super().__init__(body, name, image_size)
        self.ends = ends

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.classifier[-1]  # type: ignore[index, return-value]

    @override
    def forward(self, x: Tensor) -> Outputs:
        stages = []
        for index, layer in enumerate(self.body.features):  # type: ignore[arg-type]
            x = layer(x)
            if index in self.ends:
                stages.append(x)
        embedding = torch.flatten(self.body.avgpool(x), 1)  # type: ignore[operator]
        for layer in self.body.classifier[:-1]:  # type: ignore[index]
            embedding = layer(embedding)
        return Outputs(self.classifier(embedding), embedding, tuple(stages))


def _make(
    name: str, first_strided: int, ends: tuple[int, ...], num_classes: int, image_size: int, params: MobileNetV3Params
) -> Backbone:
    import torchvision

    body = torchvision.models.get_model(
        name.replace("mobilenetv3", "mobilenet_v3"), weights=None, num_classes=num_classes, dropout=params.dropout
    )
    if image_size <= SMALL_IMAGE:
        set_stride(body.features[0], stem_stride(image_size))
        set_stride(body.features[first_strided], 1)
    params.apply_to(body, image_size)
    return MobileNetV3(body, name, image_size, ends)


def set_stride(block: nn.Module, stride: int) -> None:
    """Gives every convolution of stride 2 in a block another stride."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (stride, stride)


for _size, _first, _ends in (("small", 1, (1, 3, 8, 12)), ("large", 2, (3, 6, 12, 16))):
    _name = f"mobilenetv3_{_size}"
    MODELS.register(_name)(
        ModelDefinition(
            _name,
            f"MobileNetV3-{_size}: depthwise convolutions, squeeze-and-excite, for phones",
            partial(_make, _name, _first, _ends),
            MobileNetV3Params,
        )
    )
