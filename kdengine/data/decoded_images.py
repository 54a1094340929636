"""The decoded-once store of a data set: images as one uint8 array on disk, memory-mapped by every run that uses it.

Layout::

    <cache>/stores/<key>/images.npy   uint8 RGB (N, S, S, 3), training images first
                         labels.npy   int64 (N,), -1 for an image that was left out
                         keys.npy     uint64 (N,), only where parts are drawn by the images, not by their positions
                         meta.json    format, data set, classes, train_count, content, mean, std, left_out, reading

A store is built in ``.<key>.building`` under a lock and renamed when it is whole, so that a folder named ``<key>`` is
always complete. The lock dies with its process; who gets it next clears what was left half-built.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdengine.data.definition import Source
from kdengine.data.progress import progress
from kdengine.errors import DataError
from kdengine.workspace import files

log = logging.getLogger(__name__)

FORMAT = 1
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store.

    Args:
        images: uint8 RGB (N, S, S, 3), memory-mapped, read-only.
        labels: int64 (N,), -1 for a row that was left out.
        meta: what ``meta.json`` holds.
        keys: uint64 (N,), by which parts are drawn; None = by position.
    """

    images: np.ndarray
    labels: np.ndarray
    meta: dict[str, Any]
    keys: np.ndarray | None = None

    def rows(self, *, train: bool) -> np.ndarray:
        """int64 rows of the training images, or of the test images, without those left out."""
        rows = np.flatnonzero(self.labels >= 0)
        is_train = rows < self.meta["train_count"]
        found: np.ndarray = rows[is_train if train else ~is_train]
        return found


def store_key(name: str, identity: str, image_size: int) -> str:
    """Name of the folder: hex digest of everything that decides what the store holds."""
    described = json.dumps([FORMAT, name, identity, image_size])
    return hashlib.sha256(described.encode()).hexdigest()[:32]


def is_stored(root: Path, name: str, identity: str, image_size: int) -> bool:
    """Whether the store lies whole in ``cache`` beside the folder ``root`` for downloads."""
    return (root.parent / "cache" / "stores" / store_key(name, identity, image_size) / "meta.json").is_file()


NEEDED = ("classes", "train_count", "content", "mean", "std")
"""What a store that can be used says of itself."""


def open_store(
    cache: Path, key: str, name: str, image_size: int, open_source: Callable[[], Source], reading: int = 1
) -> Store:
    """The store of that key, built from the source first when it does not exist.

    One that was made by an earlier ``reading`` (`DatasetDefinition.reading`) is kept when the source, read anew, gives
    the same labels, and built again when it does not.

    Safe when several processes ask at once: one builds, the others wait. Raises DataError when the source is bad,
    DiskFull when there is no room, KdError when the folder cannot be written.
    """
    folder = cache / "stores" / key
    store = _read(folder)
    if store and store.meta.get("reading", 1) == reading:
        return store
    with files.disk_errors(folder), files.lock(folder.with_name(f"{key}.lock")):
        store = _read(folder)
        if store is None or store.meta.get("reading", 1) != reading:
            source = open_source()
            if store is not None and _still_true(store, source):
                files.write_json(folder / "meta.json", store.meta | {"reading": reading})
            else:
                _build(folder, name, image_size, source, reading)
            store = _read(folder)
    if store is None:
        raise DataError(f"the store {folder} cannot be read back right after it was built; check the disk")
    return store


def list_stores(cache: Path) -> Iterator[tuple[Path, Store | None]]:
    """Every folder of a store, and what opens there; None for one that is damaged (it is built again when needed)."""
    folders = sorted(path for path in (cache / "stores").glob("[!.]*") if path.is_dir())
    for folder in folders:
        yield folder, _read(folder)


def _read(folder: Path) -> Store | None:
    """Opens a store; None when there is none, or when what lies there is not a whole one."""
    try:
        meta = files.read_json(folder / "meta.json")
        if meta is None:
            return None
        if missing := [key for key in NEEDED if key not in meta]:
            raise ValueError(f"meta.json lacks {', '.join(missing)}")
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        keys = np.load(folder / "keys.npy", allow_pickle=False) if meta.get("keys") else None
    except (OSError, ValueError, EOFError) as error:
        log.warning("the store %s is damaged (%s); it is built again", folder, error)
        return None
    return Store(images, labels, meta, keys)


def _still_true(store: Store, source: Source) -> bool:
    """Whether a store has the labels that its source has; those of images that were left out are not known."""
    labels = np.where(store.labels < 0, -1, source.labels) if len(store.labels) == len(source.labels) else None
    return (
        labels is not None and np.array_equal(labels, store.labels) and store.meta["train_count"] == source.train_count
    )


def _build(folder: Path, name: str, image_size: int, source: Source, reading: int) -> None:
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        labels, content, histogram = _write(building, name, image_size, source)
        mean, std = mean_and_std(histogram)
        meta = {
            "format": FORMAT,
            "dataset": name,
            "classes": list(source.classes),
            "image_size": image_size,
            "train_count": source.train_count,
            "left_out": int((labels < 0).sum()),
            "content": content,
            "mean": mean,
            "std": std,
            "reading": reading,
        }
        if source.keys is not None:
            np.save(building / "keys.npy", source.keys)
            meta["keys"] = hashlib.sha256(source.keys.astype("<u8").tobytes()).hexdigest()
        files.write_json(building / "meta.json", meta)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write(building: Path, name: str, image_size: int, source: Source) -> tuple[np.ndarray, str, np.ndarray]:
    """Writes images and labels. Returns the labels, the content's digest, the histogram of the training images."""
    count = len(source.labels)
    path = building / "images.npy"
    shape = (count, image_size, image_size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)
    filled = np.zeros(count, bool)
    with progress(f"decoding {name}", count) as advance:
        for rows, block in source.blocks(image_size):
            images[rows] = block
            filled[rows] = True
            advance(len(rows))
    labels = np.where(filled, source.labels, -1)
    images.flush()
    np.save(building / "labels.npy", labels)
    content = _content_digest(images, labels, source.classes)
    train = np.flatnonzero(labels[: source.train_count] >= 0)
    return labels, content, histograms(images, train)


def _reserve(path: Path) -> None:
    """Claims the disk space now: writing to a mapped file on a full disk kills the process instead of raising."""
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot reserve
                    raise


def _content_digest(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    seen = hashlib.sha256(json.dumps([list(classes), list(images.shape)]).encode())
    seen.update(labels.astype("<i8").tobytes())
    for start in range(0, len(images), _CHUNK):
        seen.update(images[start : start + _CHUNK].tobytes())
    return seen.hexdigest()


def histograms(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How often each value occurs in each channel of those rows: int64 (3, 256)."""
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(rows), _CHUNK):
        chunk = images[rows[start : start + _CHUNK]]
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return counts


def mean_and_std(histogram: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, of values scaled to 0..1, from counts (3, 256); exact on any machine.

    The deviation is at least 1/255, so that a set of one colour can still be divided by it.
    """
    values = np.arange(256) / 255
    total = histogram.sum(axis=1)
    mean = (histogram * values).sum(axis=1) / np.maximum(total, 1)
    variance = (histogram * values**2).sum(axis=1) / np.maximum(total, 1) - mean**2
    std = np.sqrt(np.maximum(variance, (1 / 255) ** 2))
    return [round(float(m), 6) for m in mean], [round(float(s), 6) for s in std]
