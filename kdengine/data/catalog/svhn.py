"""SVHN, format 2: house numbers cut out digit by digit, from the published MATLAB files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Block, Source
from kdengine.data.sources.download import RemoteFile
from kdengine.data.sources.image_files import blocks_of
from kdengine.data.sources.matlab import read_mat
from kdengine.errors import DataError
from kdengine.registry import DATASETS
from kdengine.spec.fields import Settings, setting

_ADDRESS = "http://ufldl.stanford.edu/housenumbers/"


class SvhnParams(Settings):
    """What is trained on."""

    extra: bool = setting(
        False,
        title="Extra part",
        description="Train on the 531,131 easier digits of the extra part too: 1.3 GB more to download, 2 GB of memory "
        "while they are read once.",
        source="the field trains on the 73,257 digits of the train part",
    )


class Svhn(PublishedSet):
    """Files of ``X`` (32, 32, 3, N) and ``y`` (N, 1), the label 10 being the digit 0; checksums as in torchvision.

    ``counts`` are those without the extra part.
    """

    name = "svhn"
    title = "SVHN"
    summary = "73,257 + 26,032 colour digits of house numbers, 32x32, 10 classes; 246 MB download."
    citation = "Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, NIPS workshop 2011"
    class_count = 10
    counts = (73_257, 26_032)
    flip = False
    Params = SvhnParams
    files = (
        RemoteFile(_ADDRESS + "train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", name, 182_040_794),
        RemoteFile(_ADDRESS + "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", name, 64_275_384),
    )
    extra = RemoteFile(_ADDRESS + "extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7", name, 1_329_278_602)

    @override
    def needed(self, params: SvhnParams) -> tuple[RemoteFile, ...]:
        train, test = self.files
        return (train, self.extra, test) if params.extra else (train, test)

    @override
    def open(self, params: SvhnParams, root: Path) -> Source:
        paths = self.fetch_all(params, root)
        labels = [_labels(path) for path in paths]
        sizes = [len(part) for part in labels]

        def blocks(size: int) -> Iterator[Block]:
            row = 0
            for path, count in zip(paths, sizes, strict=True):
                for rows, images in blocks_of(_images(path, count))(size):
                    yield row + rows, images
                row += count

        return Source(tuple("0123456789"), np.concatenate(labels), sum(sizes[:-1]), blocks)


def _labels(path: Path) -> np.ndarray:
    """int64 (N,), 0..9."""
    (labels,) = read_mat(path, "y")
    labels = labels.reshape(-1).astype(np.int64)
    if not len(labels) or labels.min() < 1 or labels.max() > 10:
        raise DataError(f"{path} has labels outside of 1..10, or none; it is not the published file of SVHN")
    return labels % 10


def _images(path: Path, count: int) -> np.ndarray:
    """uint8 (N, 32, 32, 3)."""
    (images,) = read_mat(path, "X")
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, count):
        raise DataError(
            f"{path} holds X of {images.dtype} {images.shape}, expected uint8 (32, 32, 3, {count}); "
            "it is not the published file of SVHN"
        )
    return images.transpose(3, 0, 1, 2)


DATASETS.register("svhn")(Svhn())
