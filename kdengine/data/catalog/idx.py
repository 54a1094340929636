"""MNIST and Fashion-MNIST from their published IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.download import RemoteFile
from kdengine.data.sources.image_files import blocks_of
from kdengine.errors import DataError
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_MAX_BYTES = 256 << 20


class IdxSet(PublishedSet):
    """70,000 grey images of 28x28, resized to the image size.

    ``files`` are training images and labels, then test images and labels.

    Attributes:
        classes: class names.
    """

    classes: ClassVar[tuple[str, ...]]
    class_count = 10
    counts = (60_000, 10_000)
    default_image_size = 32

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        paths = self.fetch_all(params, root)
        train, train_labels, test, test_labels = (
            read_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)
        )
        for images, labels, path in ((train, train_labels, paths[1]), (test, test_labels, paths[3])):
            if len(images) != len(labels) or (len(labels) and labels.max() >= len(self.classes)):
                raise DataError(f"{path} holds {len(labels)} labels for {len(images)} images, or one above 9")
        labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
        return Source(self.classes, labels, len(train), blocks_of(train, test))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads a gzipped IDX file of unsigned bytes with so many dimensions. Raises DataError when it is anything else."""
    try:
        with gzip.open(path) as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, 8, dimensions]):
                raise DataError(f"{path} is not an IDX file of bytes with {dimensions} dimension(s)")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            size = math.prod(shape)
            if size > _MAX_BYTES:
                raise DataError(f"{path} announces {size} bytes, at most {_MAX_BYTES} are accepted")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(content) != size:
        raise DataError(f"{path} holds {len(content)} bytes of data or more, its header announces {size}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _files(address: str, folder: str, published: tuple[tuple[str, int], ...]) -> tuple[RemoteFile, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        RemoteFile(f"{address}{name}-ubyte.gz", md5, folder, size)
        for name, (md5, size) in zip(names, published, strict=True)
    )


class FashionMnist(IdxSet):
    """Clothing in the layout of MNIST."""

    name = "fashion_mnist"
    title = "Fashion-MNIST"
    summary = "60,000 + 10,000 grey images of clothing, 28x28 (shown at 32), 10 classes; 30 MB download."
    citation = "Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017, arXiv 1708.07747"
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    files = _files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        name,
        (
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
            ("25c81989df183df01b3e8a0aad5dffbe", 29_515),
            ("bef4ecab320f06d8554ea6380940ec79", 4_422_102),
            ("bb300cfdad3c16e7a12a480ee83cd310", 5_148),
        ),
    )


class Mnist(IdxSet):
    """Handwritten digits; the files lie where torchvision gets them, its checksums are used."""

    name = "mnist"
    title = "MNIST"
    summary = "60,000 + 10,000 handwritten digits, 28x28 grey (shown at 32), 10 classes; 12 MB download."
    citation = "LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998"
    flip = False
    classes = tuple("0123456789")
    files = _files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        name,
        (
            ("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
            ("d53e105ee54ea40749a09fcbcd1e9432", 28_881),
            ("9fb629c4189551a2d022fa330f9573f3", 1_648_877),
            ("ec29112dd5afa0611ce80d1b7f02629c", 4_542),
        ),
    )


DATASETS.register("fashion_mnist")(FashionMnist())
DATASETS.register("mnist")(Mnist())
