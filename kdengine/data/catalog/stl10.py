"""STL-10 from its published archive of binary files; the unlabelled part is not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import TarContainer
from kdengine.data.sources.download import RemoteFile
from kdengine.data.sources.image_files import blocks_of
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_FOLDER = "stl10_binary/"
_BYTES = 3 * 96 * 96


class Stl10(PublishedSet):
    """Images of 96x96: the red plane first, then green, then blue, each column by column. Labels 1..10.

    The checksum is torchvision's. The ten folds of 1,000 images are not used: all 5,000 are for training.
    """

    name = "stl10"
    title = "STL-10"
    summary = "5,000 + 8,000 colour images, 96x96, of 10 kinds of animals and vehicles; 2.6 GB download."
    citation = "Coates, Lee & Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011"
    class_count = 10
    counts = (5_000, 8_000)
    default_image_size = 96
    files = (
        RemoteFile(
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "91f7769df0f17e558f3565bffb0c7dfb",
            name,
            2_640_397_119,
        ),
    )

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        (path,) = self.fetch_all(params, root)
        names = [
            _FOLDER + file for file in ("class_names.txt", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")
        ]
        members = self.members(TarContainer(path), names)
        classes = self.lines(members[names[0]], names[0])
        train, test = (self._images(path, members, name) for name in (names[1], names[3]))
        train_labels, test_labels = (
            self._labels(path, members, name, len(images), len(classes))
            for name, images in ((names[2], train), (names[4], test))
        )
        labels = np.concatenate([train_labels, test_labels])
        return Source(tuple(classes), labels, len(train), blocks_of(train, test))

    def _images(self, path: Path, members: dict[str, bytes], name: str) -> np.ndarray:
        """uint8 (N, 96, 96, 3), without a copy."""
        content = members[name]
        if not content or len(content) % _BYTES:
            raise self.refusal(path, f"has {len(content)} bytes in {name}, which is no number of 96x96 images")
        return np.frombuffer(content, np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)

    def _labels(self, path: Path, members: dict[str, bytes], name: str, count: int, classes: int) -> np.ndarray:
        """int64 (N,), 0..9."""
        labels = np.frombuffer(members[name], np.uint8).astype(np.int64) - 1
        if len(labels) != count or labels.min() < 0 or labels.max() >= classes:
            raise self.refusal(
                path, f"has {len(labels)} labels for {count} images in {name}, or some outside 1..{classes}"
            )
        return labels


DATASETS.register("stl10")(Stl10())
