"""The built-in data sets; importing this package registers them, in list order."""

# ruff: noqa: I001  (the order is the point: from small images to large ones, one's own last)
from __future__ import annotations

from kdengine.data.catalog import (
    digits,
    idx,
    cifar,
    svhn,
    stl10,
    tiny_imagenet,
    cub200,
    mit67,
    flowers102,
    oxford_pets,
    folder,
)

__all__ = [
    "cifar",
    "cub200",
    "digits",
    "flowers102",
    "folder",
    "idx",
    "mit67",
    "oxford_pets",
    "stl10",
    "svhn",
    "tiny_imagenet",
]
