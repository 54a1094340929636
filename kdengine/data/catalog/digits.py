"""Handwritten digits that come inside scikit-learn: no download, trains in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdengine.data import splits
from kdengine.data.definition import DatasetDefinition, Source
from kdengine.data.pictures import blocks_of
from kdengine.fields import NoSettings
from kdengine.registry import DATASETS

TEST_FRACTION = 0.2
TEST_SEED = 0


class Digits(DatasetDefinition):
    """1,797 grey pictures of 8x8; values 0..16 become 0..255; a fixed, stratified fifth is the test part."""

    name = "digits"
    title = "Digits"
    summary = "1,797 handwritten digits, 8x8 grey, 10 classes; embedded, no download. A fixed fifth is for test."
    citation = "Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998; scikit-learn load_digits"
    class_count = 10
    counts = (1438, 359)
    default_image_size = 16
    flip = False

    def identity(self, params: NoSettings, root: Path) -> str:
        return "sklearn load_digits, 1797 pictures, test fifth 0"

    def open(self, params: NoSettings, root: Path) -> Source:
        from sklearn.datasets import load_digits

        data = load_digits()
        grey = np.round(data.images * (255 / 16)).astype(np.uint8)
        labels = data.target.astype(np.int64)
        rest, test = splits.carve(labels, 10, TEST_FRACTION, TEST_SEED)
        order = np.concatenate([rest, test])
        return Source(tuple(str(digit) for digit in range(10)), labels[order], len(rest), blocks_of(grey[order]))


DATASETS.register("digits")(Digits())
