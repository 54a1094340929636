"""Whether a data set's images are here, told without downloading and without leaving anything behind."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from archives import LoopbackServer, cifar_archive

from kdengine.data import DatasetDefinition, load_dataset
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

BATCHES = {f"data_batch_{number}": 20 for number in range(1, 6)} | {"test_batch": 20}


@pytest.fixture
def cifar10(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> DatasetDefinition:
    content, _ = cifar_archive("cifar-10-batches-py", BATCHES, "batches.meta", "labels", "label_names", classes=10)
    definition = DATASETS.get("cifar10")
    small = dataclasses.replace(definition.archive, md5=hashlib.md5(content).hexdigest(), size=len(content))
    monkeypatch.setattr(definition, "archive", small)
    server.contents["cifar-10-python.tar.gz"] = content
    return definition


def present(definition: DatasetDefinition, root: Path, image_size: int | None = None) -> bool:
    return definition.present(NoSettings(), root, image_size)


def test_an_archive_counts_once_it_is_whole(tmp_path: Path, cifar10: DatasetDefinition) -> None:
    root = tmp_path / "datasets"
    archive = root / "cifar-10-python.tar.gz"
    assert not present(cifar10, root) and not list(tmp_path.iterdir())
    load_dataset("cifar10", root, 32)
    assert present(cifar10, root, 48)
    archive.write_bytes(archive.read_bytes()[:-1])
    assert not present(cifar10, root, 48)


def test_a_store_of_that_size_counts_without_the_archive(tmp_path: Path, cifar10: DatasetDefinition) -> None:
    root = tmp_path / "datasets"
    load_dataset("cifar10", root, 32)
    (root / "cifar-10-python.tar.gz").unlink()
    assert present(cifar10, root) and present(cifar10, root, 32) and not present(cifar10, root, 48)


def test_all_files_of_a_set_must_be_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = DATASETS.get("fashion_mnist")
    monkeypatch.setattr(definition, "files", tuple(dataclasses.replace(file, size=3) for file in definition.files))
    for file in definition.files:
        assert not present(definition, tmp_path)
        file.path(tmp_path).parent.mkdir(exist_ok=True)
        file.path(tmp_path).write_bytes(b"abc")
    assert present(definition, tmp_path)


def test_what_is_embedded_is_always_here(tmp_path: Path) -> None:
    assert present(DATASETS.get("digits"), tmp_path / "nowhere")


def test_published_counts_are_those_of_the_data(tmp_path: Path) -> None:
    bundle = load_dataset("digits", tmp_path / "datasets", 8, validation=0)
    assert DATASETS.get("digits").counts == (len(bundle.train), len(bundle.test))
