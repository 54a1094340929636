"""The built-in data sets; importing this package registers them."""

from __future__ import annotations

from kdengine.data.catalog import cifar, digits, fashion_mnist, folder

__all__ = ["cifar", "digits", "fashion_mnist", "folder"]
