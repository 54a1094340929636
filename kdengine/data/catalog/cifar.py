"""CIFAR-10 and CIFAR-100 from their published python archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import TarContainer
from kdengine.data.sources.download import RemoteFile, fetch
from kdengine.data.sources.image_files import blocks_of
from kdengine.data.sources.pickles import load_plain
from kdengine.errors import DataError
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_CITATION = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"


class Cifar(PublishedSet):
    """32x32 colour images in pickled batches: rows of 3072 bytes, the red plane first, then green, then blue.

    Attributes:
        archive: the published file.
        train_files, test_files, names_file: members of it, below one folder.
        label_key, names_key: where a batch keeps its labels, and the names file its class names.
    """

    archive: RemoteFile
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    names_file: str
    label_key: str
    names_key: str
    citation = _CITATION
    counts = (50_000, 10_000)

    @override
    def needed(self, params: NoSettings) -> tuple[RemoteFile, ...]:
        return (self.archive,)

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        members = self._members(fetch(self.archive, root))
        names = self._entry(members, self.names_file, self.names_key)
        train = [self._batch(members, file, len(names)) for file in self.train_files]
        test = [self._batch(members, file, len(names)) for file in self.test_files]
        images = np.concatenate([batch[0] for batch in train + test])
        labels = np.concatenate([batch[1] for batch in train + test])

        return Source(tuple(map(str, names)), labels, sum(len(batch[1]) for batch in train), blocks_of(images))

    def _members(self, path: Path) -> dict[str, Any]:
        container = TarContainer(path)
        wanted = {*self.train_files, *self.test_files, self.names_file}
        by_path = {name: name.rsplit("/", 1)[-1] for name in container.listing().files}
        paths = {name for name, file in by_path.items() if file in wanted}
        members = {by_path[name]: load_plain(content, name) for name, content in container.read(paths)}
        if missing := sorted(wanted - members.keys()):
            raise DataError(f"{path} lacks {', '.join(missing)}; it is not the published archive of {self.title}")
        return members

    def _batch(self, members: dict[str, Any], file: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """One batch: images uint8 (n, 32, 32, 3) and labels int64 (n,)."""
        data = self._entry(members, file, "data")
        labels = np.asarray(self._entry(members, file, self.label_key))
        if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072):
            raise DataError(f"{file} of {self.title} holds no uint8 rows of 3072")
        if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
            raise DataError(f"{file} of {self.title} holds {len(data)} images but labels of shape {labels.shape}")
        if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
            raise DataError(f"{file} of {self.title} holds labels outside 0..{classes - 1}")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)

    def _entry(self, members: dict[str, Any], file: str, key: str) -> Any:
        content = members[file]
        if not isinstance(content, dict) or key not in content:
            raise DataError(f"{file} of {self.title} holds no {key!r}; it is not the published archive")
        return content[key]


class Cifar10(Cifar):
    """The 10-class set."""

    name = "cifar10"
    title = "CIFAR-10"
    summary = "50,000 + 10,000 colour images, 32x32, of 10 kinds of animals and vehicles; 163 MB download."
    class_count = 10
    normalisation = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    archive = RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", size=170_498_071
    )
    train_files = tuple(f"data_batch_{number}" for number in range(1, 6))
    test_files = ("test_batch",)
    names_file = "batches.meta"
    label_key = "labels"
    names_key = "label_names"


class Cifar100(Cifar):
    """The 100-class set, with its fine labels."""

    name = "cifar100"
    title = "CIFAR-100"
    summary = "50,000 + 10,000 colour images, 32x32, of 100 classes: the field's usual benchmark; 161 MB download."
    class_count = 100
    normalisation = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    archive = RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", size=169_001_437
    )
    train_files = ("train",)
    test_files = ("test",)
    names_file = "meta"
    label_key = "fine_labels"
    names_key = "fine_label_names"


DATASETS.register("cifar10")(Cifar10())
DATASETS.register("cifar100")(Cifar100())
