"""Finds classes and the train/test split in names of files: ``<train|test>/<class>/...`` or ``<class>/...`` alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from kdengine.data import splits
from kdengine.data.containers import Listing
from kdengine.data.pictures import EXTENSIONS
from kdengine.data.wording import some
from kdengine.errors import DataError

TEST_FRACTION = 0.2
TEST_SEED = 0
_EXPECTED = "expected <train|test>/<class>/<picture> or <class>/<picture>"
_SPLITS = {"train", "test"}

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Which file is which sample.

    Args:
        classes: class names, sorted.
        paths: the picture files, training pictures first, each half sorted by class and name.
        labels: int64 (N,).
        train_count: how many of them are training pictures.
        ignored: files that are no pictures by their extension.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    train_count: int
    ignored: int


def find_layout(listing: Listing, origin: str) -> Layout:
    """Reads a listing. Raises DataError naming every problem: loose pictures, empty, single or differing classes."""
    names = [PurePosixPath(name).parts for name in listing.files]
    folders = {PurePosixPath(name).parts for name in listing.folders if not _hidden(PurePosixPath(name).parts)}
    pictures = [parts for parts in names if not _hidden(parts) and _is_picture(parts)]
    if not pictures:
        kinds = ", ".join(sorted(EXTENSIONS))
        raise DataError(f"{origin} holds no picture ({kinds}); {_EXPECTED}")
    folders |= {parts[:depth] for parts in names if not _hidden(parts) for depth in range(1, len(parts))}
    skip = _wrapper_depth(pictures, folders)
    inside = [parts[skip:] for parts in pictures]
    folders_inside = {parts[skip:] for parts in folders if len(parts) > skip}
    ignored = len(names) - len(pictures)
    original = {parts[skip:]: "/".join(parts) for parts in pictures}
    if _is_split(inside, folders_inside):
        return _split_layout(inside, folders_inside, original, ignored, origin)
    return _class_layout(inside, folders_inside, original, ignored, origin)


def _hidden(parts: Parts) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _is_picture(parts: Parts) -> bool:
    return PurePosixPath(parts[-1]).suffix.lower() in EXTENSIONS


def _wrapper_depth(pictures: list[Parts], folders: set[Parts]) -> int:
    """How many single folders lie around everything: ``cifar10/`` around train and test, or a lone ``train/``."""
    depth = 0
    while True:
        tops = {parts[depth] for parts in folders if len(parts) == depth + 1}
        loose = any(len(parts) <= depth + 2 for parts in pictures)
        if len(tops) != 1 or loose or tops == {"test"}:
            return depth
        depth += 1


def _is_split(pictures: list[Parts], folders: set[Parts]) -> bool:
    tops = {parts[0] for parts in folders}
    if tops == {"test"}:
        return True
    # Among other class folders, "train" and "test" may be classes themselves; then pictures lie right inside them.
    classes_inside = any(len(parts) > 2 and parts[0] in _SPLITS for parts in pictures)
    return tops == _SPLITS or (tops > _SPLITS and classes_inside)


def _split_layout(
    pictures: list[Parts], folders: set[Parts], original: dict[Parts, str], ignored: int, origin: str
) -> Layout:
    problems = []
    others = sorted({parts[0] for parts in folders} - _SPLITS)
    if others:
        problems.append(
            f"beside train/ and test/ there is {some(others)}; move those pictures into train/ or "
            "test/ (the validation part is carved from train)"
        )
    if not any(parts[0] == "train" for parts in folders):
        problems.append("there is test/ but no train/")
    problems += _loose([parts for parts in pictures if len(parts) < 3])
    found: dict[str, Counter[str]] = {}
    for split in ("train", "test"):
        found[split] = Counter(parts[1] for parts in pictures if parts[0] == split and len(parts) > 2)
        listed = {parts[1] for parts in folders if parts[0] == split and len(parts) == 2}
        empty = sorted(listed - found[split].keys())
        if empty:
            problems.append(f"{split}/ has {len(empty)} class folder(s) without a picture: {some(empty)}")
        other = "test" if split == "train" else "train"
        missing = sorted({parts[1] for parts in folders if parts[0] == other and len(parts) == 2} - listed)
        if missing:
            problems.append(f"{split}/ lacks {len(missing)} class folder(s) that {other}/ has: {some(missing)}")
    classes = sorted(found["train"])
    problems += _too_few_classes(classes)
    _refuse(problems, origin)
    position = {name: number for number, name in enumerate(classes)}
    ordered = sorted(pictures, key=lambda parts: (parts[0] != "train", parts))
    labels = np.array([position[parts[1]] for parts in ordered], np.int64)
    train_count = sum(found["train"].values())
    return Layout(tuple(classes), tuple(original[parts] for parts in ordered), labels, train_count, ignored)


def _class_layout(
    pictures: list[Parts], folders: set[Parts], original: dict[Parts, str], ignored: int, origin: str
) -> Layout:
    problems = _loose([parts for parts in pictures if len(parts) < 2])
    counts = Counter(parts[0] for parts in pictures if len(parts) > 1)
    classes = sorted(counts)
    empty = sorted({parts[0] for parts in folders} - counts.keys())
    if empty:
        problems.append(f"{len(empty)} class folder(s) without a picture: {some(empty)}")
    problems += _too_few_classes(classes)
    small = [f"{name} ({counts[name]})" for name in classes if counts[name] < 2]
    if small:
        problems.append(f"too few pictures to carve a test part from, at least 2 a class are needed: {some(small)}")
    _refuse(problems, origin)
    position = {name: number for number, name in enumerate(classes)}
    ordered = sorted(pictures)
    labels = np.array([position[parts[0]] for parts in ordered], np.int64)
    rest, test = splits.carve(labels, len(classes), TEST_FRACTION, TEST_SEED)
    rows = np.concatenate([rest, test])
    paths = tuple(original[ordered[row]] for row in rows)
    return Layout(tuple(classes), paths, labels[rows], len(rest), ignored)


def _loose(pictures: list[Parts]) -> list[str]:
    if not pictures:
        return []
    names = sorted("/".join(parts) for parts in pictures)
    return [f"{len(names)} picture(s) lie in no class folder: {some(names)}"]


def _too_few_classes(classes: list[str]) -> list[str]:
    if len(classes) >= 2:
        return []
    return [f"a classifier needs at least 2 classes with pictures, found {len(classes)}: {some(classes) or 'none'}"]


def _refuse(problems: list[str], origin: str) -> None:
    if problems:
        raise DataError("\n".join(f"{origin}: {problem}" for problem in problems) + f"\n{_EXPECTED}")
