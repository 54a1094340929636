"""ResNet-18/34/50 (He et al., CVPR 2016) on torchvision's bodies.

Small-image form (up to 64 px): 3x3 stem instead of 7x7, no max-pooling; names of the weights stay torchvision's.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from typing_extensions import override

from kdengine.models.backbone import SMALL_IMAGE, Backbone, ModelDefinition, Outputs, stem_stride
from kdengine.registry import MODELS
from kdengine.spec.fields import NoSettings


class ResNet(Backbone):
    """Four stages: the outputs of layer1..layer4."""

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.fc  # type: ignore[return-value]

    @override
    def forward(self, x: Tensor) -> Outputs:
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))  # type: ignore[operator]
        stages = []
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = layer(x)  # type: ignore[operator]
            stages.append(x)
        embedding = torch.flatten(body.avgpool(x), 1)  # type: ignore[operator]
        return Outputs(self.classifier(embedding), embedding, tuple(stages))


def _make(name: str, num_classes: int, image_size: int, params: NoSettings) -> Backbone:
    import torchvision

    body = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    if image_size <= SMALL_IMAGE:
        body.conv1 = nn.Conv2d(3, 64, 3, stride=stem_stride(image_size), padding=1, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
        body.maxpool = nn.Identity()
    return ResNet(body, name, image_size)


for _depth, _blocks in ((18, "basic"), (34, "basic"), (50, "bottleneck")):
    _name = f"resnet{_depth}"
    MODELS.register(_name)(
        ModelDefinition(_name, f"ResNet-{_depth}, {_blocks} blocks, 64-512 channels", partial(_make, _name))
    )
