"""``timm/<name>``: any classifier of timm behind the `Backbone` contract, with stages where timm can give maps."""

from __future__ import annotations

import difflib
from functools import partial

from torch import Tensor, nn
from typing_extensions import override

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone, ModelDefinition, Outputs
from kdengine.models.mobilenetv3 import BatchNormParams
from kdengine.registry import MODELS, UnknownName


class TimmBackbone(Backbone):
    """Stages are timm's ``forward_intermediates`` maps; () for bodies that cannot give any."""

    def __init__(self, body: nn.Module, name: str, image_size: int) -> None:
        super().__init__(body, name, image_size)
        self.has_maps = hasattr(body, "forward_intermediates")

    @property
    @override
    def classifier(self) -> nn.Linear:
        found: nn.Linear = self.body.get_classifier()  # type: ignore[operator]
        return found

    @override
    def forward(self, x: Tensor) -> Outputs:
        stages: tuple[Tensor, ...] = ()
        if self.has_maps:
            features, maps = self.body.forward_intermediates(x)  # type: ignore[operator]
            stages = tuple(maps)
        else:
            features = self.body.forward_features(x)  # type: ignore[operator]
        embedding = self.body.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return Outputs(self.classifier(embedding), embedding, stages)


def _make(name: str, num_classes: int, image_size: int, params: BatchNormParams) -> Backbone:
    import timm

    size = {"img_size": image_size} if wants_size(name) else {}
    try:
        body = timm.create_model(name, pretrained=False, num_classes=num_classes, **size)
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        message = f"timm cannot build {name} for {image_size} px and {num_classes} classes: {error}"
        raise BadInput(Problem("student.name", message)) from error
    if not isinstance(body.get_classifier(), nn.Linear):
        raise BadInput(Problem("student.name", f"timm/{name} does not end in one linear layer; choose another body"))
    params.apply_to(body, image_size)
    backbone = TimmBackbone(body, f"timm/{name}", image_size)
    try:
        backbone.shapes()
    except (RuntimeError, ValueError, AssertionError) as error:
        message = f"timm/{name} cannot process {image_size} px images: {error}"
        raise BadInput(Problem("data.image_size", message)) from error
    return backbone


def wants_size(name: str) -> bool:
    """Whether timm builds that model for one image size, and must be given it."""
    import timm

    return bool(timm.models.get_pretrained_cfg(name).fixed_input_size) if timm.models.is_model(name) else False


@MODELS.register_family("timm/")
def timm_model(name: str) -> ModelDefinition:
    """The catalog entry of a timm model; raises UnknownName with near matches."""
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UnknownName(f"timm has no model {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    return ModelDefinition(f"timm/{name}", "a classifier of timm, as published", partial(_make, name), BatchNormParams)
