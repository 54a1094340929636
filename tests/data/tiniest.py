"""A network of some hundred weights, as a package of its own: what workspaces for tests are trained with."""

from __future__ import annotations

import os
import time
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models.backbone import Backbone, ModelDefinition, Outputs
from kdengine.registry import MODELS

CHANNELS = (8, 16)
# So that it can be stopped halfway: seconds that a step takes at least.
PAUSE_S = float(os.environ.get("KD_TINIEST_PAUSE_S", "0"))


class Tiniest(Backbone):
    """Two 3x3 convolutions with batch normalisation, the second with stride 2, and dropout."""

    def __init__(self, classes: int, image_size: int) -> None:
        layers = []
        for before, after, stride in ((3, CHANNELS[0], 1), (*CHANNELS, 2)):
            parts = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            layers.append(nn.Sequential(*parts, nn.Dropout(0.05)))
        body = nn.ModuleDict({"layers": nn.ModuleList(layers), "fc": nn.Linear(CHANNELS[-1], classes)})
        super().__init__(body, "tiniest", image_size)

    @property
    def classifier(self) -> nn.Linear:
        return self.body["fc"]  # type: ignore[index, return-value]

    def forward(self, x: Tensor) -> Outputs:
        if self.training and PAUSE_S:
            time.sleep(PAUSE_S)
        stages = []
        for layer in self.body["layers"]:  # type: ignore[index, union-attr]
            x = layer(x)
            stages.append(x)
        embedding = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return Outputs(self.classifier(embedding), embedding, tuple(stages))


def _make(classes: int, image_size: int, params: Any) -> Backbone:
    return Tiniest(classes, image_size)


MODELS.register("tiniest")(ModelDefinition("tiniest", "A few hundred weights, for tests.", _make))
