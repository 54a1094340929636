"""VGG with batch normalisation (Simonyan & Zisserman, ICLR 2015) on torchvision's bodies.

Above 64 px: torchvision's published form. vgg8, RepDistiller's configuration "S" with one convolution a block, was
never published there; it keeps one linear layer as its head at every size.

Small-image form (up to 64 px), head of one linear layer:

* vgg8, vgg13, vgg16 as in RepDistiller and mdistiller (models/vgg.py), the form of the distillation tables: the map is
  halved after the first three blocks, at 64 px after the fourth too, and averaged after the last, so that the deepest
  map is 4x4 at 32 and at 64 px. Stages are the maps at the end of each block, before they are halved.
* vgg11 halves its map five times as published, so it needs at least 32 px, and at 64 px its first convolution has
  stride 2; with ``wide_head`` it has the two 4096-wide hidden layers of the published net. Stages are the halved maps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from kdengine.models.backbone import SMALL_IMAGE, Backbone, ModelDefinition, Outputs, stem_stride
from kdengine.registry import MODELS
from kdengine.spec.fields import NoSettings, Settings, setting

_CONVOLUTIONS = {"vgg8": (1, 1, 1, 1, 1), "vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3)}
_WIDTHS = (64, 128, 256, 512, 512)


class VggParams(Settings):
    """Options of vgg11."""

    wide_head: bool = setting(
        False,
        title="Wide head",
        description="Keep the two 4096-wide hidden layers at small sizes too (19 M more parameters).",
        source="RepDistiller uses one linear layer on CIFAR",
        advanced=True,
    )


class Vgg(Backbone):
    """Five stages, one a block.

    Args:
        ends: indices into ``body.features`` after which a stage ends; default: after each max-pooling.
    """

    def __init__(self, body: nn.Module, name: str, image_size: int, ends: tuple[int, ...] = ()) -> None:
        super().__init__(body, name, image_size)
        self.ends = ends or tuple(_pools(body.features))  # type: ignore[arg-type]

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


def _pools(features: nn.Sequential) -> list[int]:
    return [index for index, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]


def _make_vgg11(num_classes: int, image_size: int, params: VggParams) -> Backbone:
    body = _body("vgg11", num_classes, image_size)
    if image_size <= SMALL_IMAGE:
        body.features[0].stride = (stem_stride(image_size), stem_stride(image_size))
        if params.wide_head:
            hidden = (
                nn.Linear(512, 4096),
                nn.ReLU(True),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(True),
                nn.Dropout(),
            )
            body.classifier = nn.Sequential(*hidden, nn.Linear(4096, num_classes))
            _draw(body.classifier)
    return Vgg(body, "vgg11", image_size)


def _make(name: str, num_classes: int, image_size: int, params: NoSettings) -> Backbone:
    body = _body(name, num_classes, image_size)
    if image_size > SMALL_IMAGE:
        return Vgg(body, name, image_size)
    pools = _pools(body.features)
    for index in pools[4:] if image_size == SMALL_IMAGE else pools[3:]:
        body.features[index] = nn.Identity()  # a place holder: the weights keep torchvision's names
    return Vgg(body, name, image_size, tuple(index - 1 for index in pools))


def _body(name: str, num_classes: int, image_size: int) -> Any:
    import torchvision

    if image_size > SMALL_IMAGE and name != "vgg8":
        return torchvision.models.get_model(f"{name}_bn", weights=None, num_classes=num_classes)
    layers: list[str | int] = []
    for width, convolutions in zip(_WIDTHS, _CONVOLUTIONS[name], strict=True):
        layers += [width] * convolutions + ["M"]
    features = torchvision.models.vgg.make_layers(layers, batch_norm=True)
    with torch.device("meta"):  # the published head, which is exchanged: 120 million weights that nobody need draw
        body = torchvision.models.VGG(features, init_weights=False)
    body.avgpool = nn.AdaptiveAvgPool2d(1)
    body.classifier = nn.Sequential(nn.Linear(512, num_classes))
    _draw(body)
    return body


def _draw(net: nn.Module) -> None:
    """Weights as torchvision and RepDistiller draw them."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


MODELS.register("vgg11")(
    ModelDefinition("vgg11", "VGG-11 with batch normalisation, five pooled stages", _make_vgg11, VggParams, min_size=32)
)
for _name in ("vgg8", "vgg13", "vgg16"):
    MODELS.register(_name)(
        ModelDefinition(
            _name, f"VGG-{_name[3:]} with batch normalisation, as RepDistiller has it", partial(_make, _name)
        )
    )
