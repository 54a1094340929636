"""From a data set's name to its parts: opens the store, then splits by rows, copying no image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

from kdengine.data import splits
from kdengine.data.bundle import DatasetBundle, Part, Rgb
from kdengine.data.decoded_images import Store, open_store, store_key
from kdengine.data.definition import DatasetDefinition
from kdengine.data.sources.names import readable
from kdengine.data.wording import some
from kdengine.errors import BadInput, DataError, Problem
from kdengine.registry import DATASETS, UnknownName
from kdengine.spec.fields import Settings

MIN_SIZE, MAX_SIZE = 8, 512
_META_SEED_OFFSET, _SUBSET_SEED_OFFSET = 1, 2


def load_dataset(
    name: str,
    root: Path | str,
    image_size: int,
    validation: float = 0.1,
    split_seed: int = 0,
    per_class: int | None = None,
    *,
    fraction: float | None = None,
    meta: float = 0.0,
    cache: Path | str | None = None,
    options: Mapping[str, Any] | None = None,
) -> DatasetBundle:
    """Loads a data set of the catalog; the first call downloads and decodes it, later ones map the store.

    Args:
        name: as in ``kd list datasets``.
        root: folder for downloads.
        image_size: height and width in pixels, 8..512.
        validation: share of the training images, 0 up to below 1, carved stratified and seeded by ``split_seed``.
        split_seed: >= 0; equal arguments give identical parts.
        per_class: keep so many training images of each class, after validation was carved, which stays whole; a
            smaller number gives a subset of a larger one.
        fraction: the same as a share, above 0 up to 1 (None = 1 = all); below 1 not together with ``per_class``.
        meta: share of the training images that remain, carved into ``bundle.meta``; 0 = none.
        cache: folder for the stores; default ``cache`` beside ``root``.
        options: the data set's own settings (its ``Params``).

    Raises:
        BadInput: unknown name or settings, values out of range, too few images for the split; all problems at once.
        DataError: the data cannot be had or read.
        DiskFull: no room for the download or the store.
    """
    fraction = 1.0 if fraction is None else float(fraction)
    definition, params = _checked(name, image_size, validation, split_seed, per_class, fraction, meta, options)
    root = Path(root).expanduser()
    cache = Path(cache).expanduser() if cache is not None else root.parent / "cache"
    key = store_key(name, definition.identity(params, root), image_size)
    store = open_store(cache, key, name, image_size, lambda: definition.open(params, root), definition.reading)
    classes = tuple(map(readable, store.meta["classes"]))  # stores of before kept names that no file can hold
    _check_counts(store, classes, validation, meta)

    train, held_out, for_meta = _rows(store, classes, validation, split_seed, per_class, fraction, meta)
    mean, std = definition.normalisation or (store.meta["mean"], store.meta["std"])
    return DatasetBundle(
        name=name,
        classes=classes,
        mean=cast(Rgb, tuple(mean)),
        std=cast(Rgb, tuple(std)),
        image_size=image_size,
        train=_part(store, train),
        validation=_part(store, held_out),
        test=_part(store, store.rows(train=False)),
        digest=_digest(store, [image_size, float(validation), split_seed, per_class, fraction, float(meta)]),
        meta=_part(store, for_meta) if meta else None,
    )


def _rows(
    store: Store,
    classes: tuple[str, ...],
    validation: float,
    split_seed: int,
    per_class: int | None,
    fraction: float,
    meta: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the store to train on, to validate on, and held out for a method that learns how to teach."""
    train, held_out = _divide(store, store.rows(train=True), len(classes), validation, split_seed)
    if per_class is not None:
        _check_per_class(store, train, classes, per_class, meta)
    train = _subset(store, train, len(classes), per_class, fraction, split_seed)
    train, for_meta = _divide(store, train, len(classes), meta, split_seed + (_META_SEED_OFFSET << 32))
    return train, held_out, for_meta


def _digest(store: Store, described: list[Any]) -> str:
    """Of the images and of all that decides which of them are in which part."""
    # Where images have keys, these decide the split beside what the images show.
    keys = [] if store.keys is None else [store.meta["keys"]]
    return hashlib.sha256(json.dumps([store.meta["content"], *described, *keys]).encode()).hexdigest()


def _checked(
    name: str,
    image_size: int,
    validation: float,
    split_seed: int,
    per_class: int | None,
    fraction: float,
    meta: float,
    options: Mapping[str, Any] | None,
) -> tuple[DatasetDefinition, Settings]:
    problems = []
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        problems.append(Problem("data.image_size", f"{image_size} px; give {MIN_SIZE} to {MAX_SIZE}"))
    if not 0 <= validation < 1:
        problems.append(Problem("data.validation", f"{validation} is no share; give 0 up to below 1"))
    if not 0 <= meta < 1:
        problems.append(Problem("data.meta", f"{meta} is no share; give 0 up to below 1"))
    if not 0 <= split_seed < 1 << 32:
        problems.append(Problem("data.split_seed", f"{split_seed}; give 0 up to 2^32 - 1"))
    if per_class is not None and per_class < 1:
        problems.append(Problem("data.per_class", f"{per_class}; give at least 1 image a class"))
    if not 0 < fraction <= 1:
        problems.append(Problem("data.fraction", f"{fraction} is no share; give above 0 up to 1"))
    if per_class is not None and fraction < 1:
        problems.append(Problem("data.per_class", "give per_class or a fraction below 1, not both"))
    try:
        definition: DatasetDefinition = DATASETS.get(name)
        params = definition.Params.model_validate(dict(options or {}))
    except UnknownName as error:
        problems.append(Problem("data.name", str(error)))
    except ValidationError as error:
        for detail in error.errors():
            place = ".".join(["data", "options", *map(str, detail["loc"])])
            problems.append(Problem(place, f"{detail['msg']} (data set {name!r})"))
    if problems:
        raise BadInput(problems)
    return definition, params


def _check_counts(store: Store, classes: tuple[str, ...], validation: float, meta: float) -> None:
    """Refuses splits that would leave a class without images, naming the classes."""
    train = np.bincount(store.labels[store.rows(train=True)], minlength=len(classes))
    test = np.bincount(store.labels[store.rows(train=False)], minlength=len(classes))
    gone = [name for name, a, b in zip(classes, train, test, strict=True) if a == 0 or b == 0]
    if gone:
        raise DataError(f"no readable image is left, in train or in test, of {len(gone)} class(es): {some(gone)}")
    needed = 1 + (validation > 0) + (meta > 0)
    both = zip(classes, train, test, strict=True)
    small = [f"{name} ({n} of {n + of_test})" for name, n, of_test in both if n < needed]
    if small:
        shares = "validation and meta" if meta else "validation"
        message = (
            f"too few training images to carve {shares} from, at least {needed} a class are needed beside the test"
        )
        raise BadInput(Problem("data.validation", f"{message} images: {some(small)}"))


def _check_per_class(store: Store, train: np.ndarray, classes: tuple[str, ...], per_class: int, meta: float) -> None:
    """Refuses to keep more of a class than remain in ``train``, its rows, or too few for the meta part."""
    left = np.bincount(store.labels[train], minlength=len(classes))
    short = [f"{name} ({n})" for name, n in zip(classes, left, strict=True) if n < per_class]
    problems = []
    if short:
        message = f"{per_class} asked for, but fewer remain beside validation: {some(short)}"
        problems.append(Problem("data.per_class", message))
    if meta and per_class < 2:
        problems.append(Problem("data.per_class", "at least 2 are needed to carve meta from"))
    if problems:
        raise BadInput(problems)


def _divide(store: Store, rows: np.ndarray, classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rest, carved = splits.carve(store.labels[rows], classes, share, seed, _keys(store, rows))
    return rows[rest], rows[carved]


def _subset(
    store: Store, rows: np.ndarray, classes: int, per_class: int | None, fraction: float, split_seed: int
) -> np.ndarray:
    seed = split_seed + (_SUBSET_SEED_OFFSET << 32)
    if per_class is not None:
        kept = splits.keep_per_class(store.labels[rows], classes, per_class, seed, _keys(store, rows))
    elif fraction < 1:
        kept = splits.keep_fraction(store.labels[rows], classes, fraction, seed, _keys(store, rows))
    else:
        return rows
    found: np.ndarray = rows[kept]
    return found


def _keys(store: Store, rows: np.ndarray) -> np.ndarray | None:
    return None if store.keys is None else store.keys[rows]


def _part(store: Store, rows: np.ndarray) -> Part:
    labels = store.labels[rows]
    rows.flags.writeable = False
    labels.flags.writeable = False
    return Part(store.images, rows, labels)
