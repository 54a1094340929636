"""Which pictures of a data set are looked at."""

from __future__ import annotations

import numpy as np

from kdengine.data.bundle import DatasetBundle, Part, sample_rows, spread
from kdengine.errors import BadInput, Problem
from kdengine.inspection.subject import Pictures

STATISTICS = 512
"""Validation pictures behind everything that counts answers."""


def part_of(bundle: DatasetBundle) -> Part:
    """The validation part, or the training part where nothing was set aside. Never the test part."""
    return bundle.validation if len(bundle.validation) else bundle.train


def shown(bundle: DatasetBundle, count: int, classes: tuple[str, ...] = ()) -> Pictures:
    """Pictures to look at: one of each class first, then a second of each, always the same ones.

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
    return Pictures(part.pictures(rows), part.labels[rows])


def statistics(bundle: DatasetBundle) -> Pictures:
    """More pictures, spread evenly over the part."""
    part = spread(part_of(bundle), STATISTICS)
    return Pictures(part.pictures(np.arange(len(part))), part.labels)
