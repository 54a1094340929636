"""A batch computed in parts: gradients add up over them, so that a step takes the memory of one part.

Each part's loss counts with its share of the images. Where the loss is a mean over images of what each gives by itself,
the sum of the parts' gradients is the gradient of the whole batch, up to rounding; `Needs.batch_relations` says where
it is not. What is drawn for a batch (augmentation, mixup, CutMix, a method's ``prepare``) is drawn before it is parted.
Two things see a part at a time in any case: batch norm takes its statistics of it, and dropout draws for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from kdengine.data.batches.loader import Drawn
from kdengine.methods.base import BatchLike, Term

Learn = Callable[[BatchLike, float], dict[str, Term]]
"""Part of a batch, its share of the images 0..1 -> the loss terms over the part, each a mean over its images."""

KNOWN = {"views", "target", "index", "drawn"}


def in_parts(batch: BatchLike, count: int, learn: Learn) -> dict[str, Term]:
    """Lets ``learn`` see a batch part by part; what it adds to gradients with the share given is the whole batch's.

    Args:
        batch: B images.
        count: number of parts; equal ones where it divides B. At most B are made.
        learn: computes one part.

    Returns:
        The terms of the whole batch: raw values are means over all its images. A term's weight depends on settings and
        the clock alone, so it is any part's.

    Raises:
        TypeError: the batch holds more than a method may read of one, and nobody knows how that is parted.
    """
    total: dict[str, Term] = {}
    for part, share in _parts(batch, count):
        for name, term in learn(part, share).items():
            before = total[name].raw if name in total else 0.0
            total[name] = Term(before + share * term.raw, term.weight)
    return total


def _parts(batch: Any, count: int) -> Iterator[tuple[BatchLike, float]]:
    """The parts one after the other, each with its share. Part i holds the images i, i + count, i + 2 count, ...

    So images that a sampler pairs, the n-th of each half of a batch, stay together where a part is even.
    """
    more = {field.name for field in dataclasses.fields(batch)} - KNOWN
    if more:
        names = ", ".join(sorted(more))
        raise TypeError(f"a {type(batch).__name__} cannot be computed in parts: nobody knows how to part its {names}")
    whole = len(batch.target)
    count = min(count, whole)
    for first in range(count):
        part = _part(batch, slice(first, None, count))
        yield part, len(part.target) / whole


def _part(batch: Any, taken: slice) -> BatchLike:
    # Copied, for kernels want neighbouring images; the memory format stays.
    views = tuple(view[taken].clone() for view in batch.views)
    changes: dict[str, Any] = {"views": views, "target": batch.target[taken], "index": batch.index[taken]}
    if getattr(batch, "drawn", None) is not None:
        changes["drawn"] = _drawn(batch.drawn, batch.views, views, taken)
    part: BatchLike = dataclasses.replace(batch, **changes)
    return part


def _drawn(drawn: Drawn, views: tuple[Tensor, ...], parts: tuple[Tensor, ...], taken: slice) -> Drawn:
    """Which views the part holds; one that a method put something else in the place of stays distinct from it."""
    as_drawn = tuple(
        part if view is before else before[taken] for view, before, part in zip(views, drawn.views, parts, strict=True)
    )
    return Drawn(drawn.rows[taken], tuple(slots[taken] for slots in drawn.slots), as_drawn)
