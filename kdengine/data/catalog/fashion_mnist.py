"""Fashion-MNIST from its published IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from kdengine.data.definition import DatasetDefinition, Source
from kdengine.data.download import RemoteFile, fetch
from kdengine.data.pictures import blocks_of
from kdengine.data.store import is_stored
from kdengine.errors import DataError
from kdengine.fields import NoSettings
from kdengine.registry import DATASETS

_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FOLDER = "fashion_mnist"
_MAX_BYTES = 256 << 20


class FashionMnist(DatasetDefinition):
    """70,000 grey pictures of 28x28, resized to the image size.

    Attributes:
        files: the four published files: training pictures and labels, test pictures and labels.
    """

    name = "fashion_mnist"
    title = "Fashion-MNIST"
    summary = "60,000 + 10,000 grey pictures of clothing, 28x28 (shown at 32), 10 classes; 30 MB download."
    citation = "Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017, arXiv 1708.07747"
    class_count = 10
    counts = (60_000, 10_000)
    default_image_size = 32
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
    files: tuple[RemoteFile, ...] = (
        RemoteFile(_ADDRESS + "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", _FOLDER, 26_421_880),
        RemoteFile(_ADDRESS + "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", _FOLDER, 29_515),
        RemoteFile(_ADDRESS + "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", _FOLDER, 4_422_102),
        RemoteFile(_ADDRESS + "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", _FOLDER, 5_148),
    )

    def identity(self, params: NoSettings, root: Path) -> str:
        return "md5:" + ",".join(file.md5 for file in self.files)

    def present(self, params: NoSettings, root: Path, image_size: int | None = None) -> bool:
        size = image_size or self.default_image_size
        here = all(file.is_here(root) for file in self.files)
        return here or is_stored(root, self.name, self.identity(params, root), size)

    def open(self, params: NoSettings, root: Path) -> Source:
        paths = [fetch(file, root) for file in self.files]
        train, train_labels, test, test_labels = (
            read_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)
        )
        for pictures, labels, path in ((train, train_labels, paths[1]), (test, test_labels, paths[3])):
            if len(pictures) != len(labels) or (len(labels) and labels.max() >= len(self.classes)):
                raise DataError(f"{path} holds {len(labels)} labels for {len(pictures)} pictures, or one above 9")
        pictures = np.concatenate([train, test])
        labels = np.concatenate([train_labels, test_labels]).astype(np.int64)

        return Source(self.classes, labels, len(train), blocks_of(pictures))


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


DATASETS.register("fashion_mnist")(FashionMnist())
