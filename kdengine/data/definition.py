"""The contract of a data set in the catalog: what it is, how it is recognised, and how its images are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kdengine.data.batches.augmentation import Augmentation
from kdengine.data.bundle import Rgb
from kdengine.spec.fields import NoSettings, Settings

Block = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Source:
    """The images of a data set before they are in a store.

    Args:
        classes: class names, C of them.
        labels: int64 (N,), 0..C-1; the training images come first, then the test images.
        train_count: how many of the N are training images.
        blocks: given the image size S, yields (rows int64 (n,), images uint8 RGB (n, S, S, 3)) in any order. A row
            that is never yielded was left out on purpose (a corrupt image that the person asked to skip).
        keys: uint64 (N,), by which parts are drawn (`kdengine.data.splits`); None = by position.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    train_count: int
    blocks: Callable[[int], Iterator[Block]]
    keys: np.ndarray | None = None


class DatasetDefinition(ABC):
    """One entry of the catalog: a subclass sets the attributes and says how to read the source; an instance is filed.

    Attributes:
        name, title, summary, citation: texts for lists and pages.
        class_count: number of classes, None when only the data knows.
        counts: published numbers of training and of test images, None when only the data knows.
        default_image_size: pixels.
        flip, crop: whether mirrored and shifted images still show the same class.
        normalisation: published (mean, std) in 0..1 units, None = computed from the training images.
        Params: the settings that only this data set has.
        reading: number of the rule by which labels are found in the source; raised when the rule changes, so that
            stores of an earlier one are compared with the source before they are used.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str]
    class_count: ClassVar[int | None] = None
    counts: ClassVar[tuple[int, int] | None] = None
    default_image_size: ClassVar[int] = 32
    flip: ClassVar[bool] = True
    crop: ClassVar[bool] = True
    normalisation: ClassVar[tuple[Rgb, Rgb] | None] = None
    Params: ClassVar[type[Settings]] = NoSettings
    reading: ClassVar[int] = 1

    @abstractmethod
    def identity(self, params: Any, root: Path) -> str:
        """A text that changes whenever the stored images would; cheap, and downloads nothing.

        Raises DataError when the source named in ``params`` (of type ``Params``) does not exist.
        """

    @abstractmethod
    def open(self, params: Any, root: Path) -> Source:
        """Finds the images, downloading to ``root`` where needed. Raises DataError naming every problem found."""

    def present(self, params: Any, root: Path, image_size: int | None = None) -> bool:
        """Whether the images are here, so that nothing need be downloaded; looks only, reads and writes nothing.

        Args:
            root: folder for downloads; stores are looked for in ``cache`` beside it.
            image_size: a store of that size counts too, without the archive; default ``default_image_size``.
        """
        return True

    def augmentation(self, image_size: int) -> Augmentation:
        """The field's usual changes at that size, as far as they suit this data set: crop by 1/8 of the size, flip."""
        return Augmentation(crop_padding=image_size // 8 if self.crop else 0, flip=self.flip)
