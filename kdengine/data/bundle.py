"""What a data set looks like once it is loaded: classes, normalisation, and the parts it is split into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rgb = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a store, without copying them.

    Args:
        images: all images of the store, uint8 RGB (M, H, W, 3), memory-mapped and read-only; a grey image has
            three equal channels.
        index: int64 (N,), the rows of ``images`` that belong to this part, ascending.
        labels: int64 (N,), class of each, 0..C-1.
    """

    images: np.ndarray
    index: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def take(self, indices: np.ndarray | list[int]) -> np.ndarray:
        """Copies images out: sample numbers of this part (n,), each 0..N-1 -> uint8 (n, H, W, 3)."""
        return np.asarray(self.images[self.index[np.asarray(indices, dtype=np.int64)]])


def spread(part: Part, count: int) -> Part:
    """At most ``count`` images of a part, spread evenly over it, so that a part sorted by class keeps all classes."""
    rows = np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(np.int64)
    return Part(part.images, part.index[rows], part.labels[rows])


@dataclass(frozen=True, eq=False)
class DatasetBundle:
    """A data set, split and ready to train on.

    Args:
        name: its name in the registry.
        classes: class names; the label is the position.
        mean, std: per channel (R, G, B), of images scaled to 0..1: the published numbers where there are some, else
            computed from all training images of the store.
        image_size: height and width in pixels.
        train, validation, test: the parts; disjoint. ``validation`` is empty when none was asked for.
        meta: held-out batches for methods that ask for them, carved from ``train``; None unless asked for.
        digest: hex; equal for equal images, labels, classes and split, on any machine.
    """

    name: str
    classes: tuple[str, ...]
    mean: Rgb
    std: Rgb
    image_size: int
    train: Part
    validation: Part
    test: Part
    digest: str
    meta: Part | None = None


def sample_rows(part: Part, n: int, seed: int = 0) -> np.ndarray:
    """Sample numbers (n,) of images to show: one of each class first, then a second of each, and so on.

    Fewer than ``n`` when the part is smaller. Which images they are depends on part and seed alone, and those of a
    smaller ``n`` come first in those of a larger.
    """
    labels = part.labels
    shuffled = np.argsort(np.random.default_rng(seed).random(len(labels)), kind="stable")
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sorted_labels = labels[by_class]
    starts = np.searchsorted(sorted_labels, sorted_labels)
    rank_in_class = np.arange(len(by_class)) - starts
    return np.asarray(by_class[np.argsort(rank_in_class, kind="stable")][:n])


def sample_images(bundle: DatasetBundle, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Training images to show, chosen by `sample_rows`: uint8 (n, H, W, 3) and int64 labels (n,)."""
    chosen = sample_rows(bundle.train, n, seed)
    return bundle.train.take(chosen), bundle.train.labels[chosen]
