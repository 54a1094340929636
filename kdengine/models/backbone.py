"""The one contract behind which every classifier stands: logits, embedding and stage maps from one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdengine.errors import BadInput, Problem
from kdengine.registry import MODELS
from kdengine.spec.fields import NoSettings, Settings

SMALL_IMAGE = 64
"""Up to this side nets get the small-image form: 3x3 stem, no early pooling."""


class Outputs(NamedTuple):
    """What a backbone gives for images (B, 3, H, W).

    Attributes:
        logits: (B, C), one column a class.
        embedding: (B, D), what the last linear layer sees.
        stages: maps from shallow to deep, each (B, C_i, H_i, W_i), after activation; () where the body has none.
    """

    logits: Tensor
    embedding: Tensor
    stages: tuple[Tensor, ...]

    def single(self) -> Outputs:
        """The same in float32."""
        return Outputs(self.logits.float(), self.embedding.float(), tuple(stage.float() for stage in self.stages))


class Shapes(NamedTuple):
    """Sizes of a backbone's outputs for one image: classes, D, and (C_i, H_i, W_i) of each stage."""

    classes: int
    embedding: int
    stages: tuple[tuple[int, int, int], ...]


class Backbone(nn.Module):
    """A classifier with its body kept intact, so that the body's weights load in the library it comes from.

    Subclasses implement ``forward(x) -> Outputs`` and ``classifier``; ``backbone.classifier(embedding)`` equals the
    logits, in training mode too (any dropout comes before the embedding).
    """

    def __init__(self, body: nn.Module, name: str, image_size: int) -> None:
        super().__init__()
        self.body = body
        self.name = name
        self.image_size = image_size

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer."""
        raise NotImplementedError

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of each stage, shallow to deep."""
        return tuple(channels for channels, _, _ in self.shapes().stages)

    @torch.no_grad()
    def shapes(self) -> Shapes:
        """Sizes of all outputs at the backbone's image size; neither weights nor random state are touched."""
        parameter = next(self.parameters())
        blank = torch.zeros(1, 3, self.image_size, self.image_size, device=parameter.device, dtype=parameter.dtype)
        with evaluating(self):
            outputs: Outputs = self(blank)
        stages = tuple((stage.shape[1], stage.shape[2], stage.shape[3]) for stage in outputs.stages)
        return Shapes(outputs.logits.shape[1], outputs.embedding.shape[1], stages)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards each module is in the mode it had, frozen parts of a training net too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass(frozen=True)
class ModelDefinition:
    """A catalog entry.

    Attributes:
        name: name in the registry.
        summary: one line for lists and forms.
        make: (num_classes, image_size, params) -> Backbone.
        Params: the entry's options.
        min_size: smallest side in pixels at which no map shrinks below 1x1.
    """

    name: str
    summary: str
    make: Callable[[int, int, Any], Backbone]
    Params: type[Settings] = NoSettings
    min_size: int = 8


def build_model(name: str, num_classes: int, image_size: int, **options: Any) -> Backbone:
    """A freshly initialised classifier.

    Args:
        name: catalog name, ``timm/<name>`` or ``torchvision/<name>``.
        num_classes: at least 2.
        image_size: side of the images in pixels; 16..64 gives the small-image form, above 64 the published one.
        options: the entry's own parameters, e.g. ``dropout=0.0``.

    Raises:
        UnknownName: no such model (near matches are named).
        BadInput: fewer than two classes, or images so small that a map would shrink below 1x1.
    """
    definition: ModelDefinition = MODELS.get(name)
    if num_classes < 2:
        raise BadInput(Problem("data", f"found {num_classes} class; a classifier needs at least two"))
    if image_size < definition.min_size:
        raise BadInput(
            Problem(
                "data.image_size",
                f"{name} halves the map so often that {image_size} px would shrink below 1x1; "
                f"use at least {definition.min_size} px or a shallower net",
            )
        )
    return definition.make(num_classes, image_size, definition.Params(**options))


def list_models(pattern: str = "*") -> list[str]:
    """Names of the catalog that match a shell pattern; the timm and torchvision families come on top of it."""
    return MODELS.names(pattern)


def stem_stride(image_size: int) -> int:
    """Stride of the first convolution in the small-image form: 1, and 2 at 64 px."""
    return 2 if image_size >= SMALL_IMAGE else 1


def set_batch_norm(model: nn.Module, momentum: float, eps: float) -> None:
    """Sets momentum and eps of every batch normalisation."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = momentum
            module.eps = eps
