"""Networks found by a few letters of their names, with what they cost: the catalog's, torchvision's and timm's."""

from __future__ import annotations

from functools import cache

import torch

from kdengine.errors import BadInput
from kdengine.evaluation.cost import Cost, count
from kdengine.models.backbone import build_model
from kdengine.registry import MODELS


@cache
def all_names() -> tuple[str, ...]:
    """Every network by the name that a spec takes: the catalog first, then torchvision's classifiers and timm's."""
    import timm
    import torchvision

    published = torchvision.models.list_models(module=torchvision.models)
    return (
        *MODELS.names(),
        *(f"torchvision/{name}" for name in published),
        *(f"timm/{name}" for name in timm.list_models()),
    )


def find(query: str) -> list[str]:
    """The names that contain every word of a query, in the order of `all_names`, those that begin with it first."""
    words = query.lower().split()
    found = [name for name in all_names() if all(word in name.lower() for word in words)]
    return sorted(found, key=lambda name: not name.rpartition("/")[2].startswith(query.strip().lower()))


@cache
def cost(name: str, classes: int, image_size: int) -> Cost | None:
    """What a network would cost, without making its weights; None for one that cannot be had at that size.

    Args:
        name: as `build_model` takes it.
        classes: of the data.
        image_size: in pixels.
    """
    try:
        with torch.device("meta"):
            return count(build_model(name, classes, image_size))
    # Some two thousand networks of others, made for no such device: each may fail in its own way.
    except (BadInput, ArithmeticError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None
