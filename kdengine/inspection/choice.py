"""Which images of a data set are inspected."""

from __future__ import annotations

import numpy as np

from kdengine.data.bundle import DatasetBundle, Part, sample_rows, spread
from kdengine.errors import BadInput, Problem
from kdengine.inspection.subject import Images

STATISTICS = 512
"""Validation images behind everything that counts predictions."""


def part_of(bundle: DatasetBundle) -> Part:
    """The validation part, or the training part where nothing was set aside. Never the test part."""
    return bundle.validation if len(bundle.validation) else bundle.train


def shown(bundle: DatasetBundle, count: int, classes: tuple[str, ...] = ()) -> Images:
    """Images to inspect: one of each class first, then a second of each, always the same ones.

    Args:
        bundle: the data.
        count: at most so many.
        classes: names of the classes to take them from; all by default. Raises BadInput for names that are none.
    """
    part = part_of(bundle)
    if classes:
        missing = [name for name in classes if name not in bundle.classes]
        if missing:
            raise BadInput([Problem("classes", f"{bundle.name} has no class {name!r}") for name in missing])
        wanted = np.isin(part.labels, [bundle.classes.index(name) for name in classes])
        part = Part(part.images, part.index[wanted], part.labels[wanted])
    rows = sample_rows(part, count)
    return Images(part.take(rows), part.labels[rows])


def statistics(bundle: DatasetBundle) -> Images:
    """More images, spread evenly over the part."""
    part = spread(part_of(bundle), STATISTICS)
    return Images(part.take(np.arange(len(part))), part.labels)
