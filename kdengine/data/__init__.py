"""Catalog of data sets -> decoded-once uint8 store -> batched augmentation on the device.

What needs torch lies in ``kdengine.data.batches`` and is imported from there: this package stays cheap to import.
"""

from __future__ import annotations

from kdengine.data import catalog as catalog
from kdengine.data.batches.augmentation import Augmentation
from kdengine.data.bundle import DatasetBundle, Part, sample_images
from kdengine.data.definition import DatasetDefinition, Source
from kdengine.data.load_dataset import load_dataset

__all__ = [
    "Augmentation",
    "DatasetBundle",
    "DatasetDefinition",
    "Part",
    "Source",
    "load_dataset",
    "sample_images",
]
