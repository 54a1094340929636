"""Handwritten digits that come inside scikit-learn: no download, trains in seconds."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from kdengine.data import splits
from kdengine.data.definition import DatasetDefinition, Source
from kdengine.data.sources.image_files import blocks_of
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

TEST_FRACTION = 0.2
TEST_SEED = 0


class Digits(DatasetDefinition):
    """1,797 grey images of 8x8; values 0..16 become 0..255; a fixed, stratified fifth is the test part."""

    name = "digits"
    title = "Digits"
    summary = "1,797 handwritten digits, 8x8 grey, 10 classes; embedded, no download. A fixed fifth is for test."
    citation = "Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998; scikit-learn load_digits"
    class_count = 10
    counts = (1438, 359)
    default_image_size = 16
    flip = False

    @override
    def identity(self, params: NoSettings, root: Path) -> str:
        return "sklearn load_digits, 1797 images, test fifth 0"

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        table = _table()
        grey = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        labels = table[:, -1].astype(np.int64)
        rest, test = splits.carve(labels, 10, TEST_FRACTION, TEST_SEED)
        order = np.concatenate([rest, test])
        return Source(tuple(str(digit) for digit in range(10)), labels[order], len(rest), blocks_of(grey[order]))


def _table() -> NDArray[np.float64]:
    """One row an image: 64 values of 0..16 and the digit, float64 (1797, 65).

    What ``load_digits`` reads, without importing scikit-learn: that takes seconds in each process that meets an empty
    workspace.
    """
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is one of this package's requirements"
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",")


DATASETS.register("digits")(Digits())
