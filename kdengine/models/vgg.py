"""VGG-11 with batch normalisation (Simonyan & Zisserman, ICLR 2015) on torchvision's body.

Small-image form (up to 64 px): one linear layer as in RepDistiller, or with ``wide_head`` the two 4096-wide hidden
layers of the published net. Needs at least 32 px, for it halves the map five times.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdengine.fields import Settings, setting
from kdengine.models.backbone import SMALL_IMAGE, Backbone, ModelDefinition, Outputs, stem_stride
from kdengine.registry import MODELS


class VggParams(Settings):
    """Options of the VGG nets."""

    wide_head: bool = setting(
        False,
        title="Wide head",
        description="Keep the two 4096-wide hidden layers at small sizes too (19 M more parameters).",
        source="RepDistiller uses one linear layer on CIFAR",
        advanced=True,
    )


class Vgg(Backbone):
    """Five stages: the maps after each max-pooling."""

    @property
    def classifier(self) -> nn.Linear:
        return self.body.classifier[-1]  # type: ignore[index, return-value]

    def forward(self, x: Tensor) -> Outputs:
        stages = []
        for layer in self.body.features:  # type: ignore[union-attr]
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
        embedding = torch.flatten(self.body.avgpool(x), 1)  # type: ignore[operator]
        for layer in self.body.classifier[:-1]:  # type: ignore[index]
            embedding = layer(embedding)
        return Outputs(self.classifier(embedding), embedding, tuple(stages))


def _make(num_classes: int, image_size: int, params: VggParams) -> Backbone:
    import torchvision

    body = torchvision.models.vgg11_bn(weights=None, num_classes=num_classes)
    if image_size <= SMALL_IMAGE:
        body.features[0].stride = (stem_stride(image_size), stem_stride(image_size))
        body.avgpool = nn.AdaptiveAvgPool2d(1)
        if params.wide_head:
            body.classifier[0] = nn.Linear(512, 4096)
            nn.init.normal_(body.classifier[0].weight, 0, 0.01)
            nn.init.zeros_(body.classifier[0].bias)
        else:
            body.classifier = nn.Sequential(nn.Linear(512, num_classes))
    return Vgg(body, "vgg11", image_size)


MODELS.register("vgg11")(
    ModelDefinition("vgg11", "VGG-11 with batch normalisation, five pooled stages", _make, VggParams, min_size=32)
)
