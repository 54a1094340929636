"""Finds classes and the train/test split in names of files: ``<train|test>/<class>/...`` or ``<class>/...`` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from kdengine.data import splits
from kdengine.data.sources.guard import Listing
from kdengine.data.sources.image_files import EXTENSIONS
from kdengine.data.sources.left_out import is_hidden, is_image, left_out
from kdengine.data.sources.names import readable
from kdengine.data.sources.tree import LEFT_OUT, Meaning, Parts, Tree, doubt_of_classes, drawn, understand
from kdengine.data.wording import some
from kdengine.errors import DataError

TEST_FRACTION = 0.2
TEST_SEED = 0
# Apart from every seed of a validation part, of which the same draw would find the images gone.
TEST_SEED_BY_IMAGE = 3 << 32
_EXPECTED = "expected <train|test>/<class>/<image> or <class>/<image>"


class Unclear(DataError):
    """Which folders are classes is unclear; the person can say it."""


@dataclass(frozen=True)
class Layout:
    """Which file is which sample.

    Args:
        classes: class names, in the order of their folders; as people read them.
        paths: the image files, training images first, each half sorted by class and name.
        labels: int64 (N,).
        train_count: how many of them are training images.
        left_out: what lies there and is no sample, a sentence each (`kdengine.data.sources.left_out`).
        keys: uint64 (N,), of ``<class>/<...>``, whatever lies around it (`splits.key_of`).
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    train_count: int
    left_out: tuple[str, ...]
    keys: np.ndarray


def find_layout(
    listing: Listing, origin: str, layout: Literal["auto", "classes"] = "auto", by_image: bool = False
) -> Layout:
    """Reads a listing.

    Args:
        listing: files and folders.
        origin: what messages call the whole.
        layout: "classes" takes every top folder for a class, whatever its name; "auto" finds out, and refuses when
            that is unclear.
        by_image: whether a test part that must be carved is drawn by the images' keys, else by their positions.

    Raises:
        Unclear: folders that may be no classes.
        DataError: every problem: loose images, empty, single or differing classes.
    """
    names = [PurePosixPath(name).parts for name in listing.files]
    folders = {PurePosixPath(name).parts for name in listing.folders if not is_hidden(PurePosixPath(name).parts)}
    images = [parts for parts in names if not is_hidden(parts) and is_image(parts)]
    if not images:
        kinds = ", ".join(sorted(EXTENSIONS))
        raise DataError(". ".join([f"{origin} holds no image ({kinds}); {_EXPECTED}", *left_out(names)]))
    folders |= {parts[:depth] for parts in names if not is_hidden(parts) for depth in range(1, len(parts))}
    skip = _wrapper_depth(images, folders, stop=set() if layout == "classes" else {"test"})
    original = {parts[skip:]: "/".join(parts) for parts in images}
    found = Tree(list(original), {parts[skip:] for parts in folders if len(parts) > skip})
    meaning = Meaning() if layout == "classes" else understand(found)
    _refuse_doubt(meaning.doubt, found, origin)
    original = {meaning.move(parts): name for parts, name in original.items()}
    moved = found.moved(meaning.move)
    if not meaning.split:
        return _class_layout(moved, original, names, origin, by_image)
    classes = Tree(
        [parts[1:] for parts in moved.images if len(parts) > 2], {p[1:] for p in moved.folders if len(p) > 1}
    )
    _refuse_doubt("" if layout == "classes" else doubt_of_classes(classes), found, origin)
    return _split_layout(moved, meaning.words, original, names, origin)


def _wrapper_depth(images: list[Parts], folders: set[Parts], stop: set[str]) -> int:
    """How many single folders lie around everything: ``cifar10/`` around train and test, or a lone ``train/``.

    One whose name is in ``stop`` lies around nothing: it is a part without the other.
    """
    depth = 0
    while True:
        tops = {parts[depth] for parts in folders if len(parts) == depth + 1}
        loose = any(len(parts) <= depth + 2 for parts in images)
        if len(tops) != 1 or loose or {top.lower() for top in tops} <= stop:
            return depth
        depth += 1


def _split_layout(
    found: Tree, words: Mapping[str, str], original: Mapping[Parts, str], names: list[Parts], origin: str
) -> Layout:
    """Of a tree moved to ``<train|test>/<class>/...``; ``words`` are what those two are called in the source."""
    images = [parts for parts in found.images if parts[0] != LEFT_OUT]
    called = {part: readable(words.get(part, part)) for part in ("train", "test")}
    problems = []
    others = sorted(readable(words.get(top, top)) for top in set(found.tops()) - {"train", "test", LEFT_OUT})
    if others:
        problems.append(
            f"beside {called['train']}/ and {called['test']}/ there is {some(others)}; move those images into "
            f"{called['train']}/ or {called['test']}/ (the validation part is carved from train)"
        )
    for part in ("train", "test"):
        if part not in words:
            problems.append(f"there is {some([f'{readable(top)}/' for top in words.values()])} but no {part}/")
    problems += _loose([original[parts] for parts in images if len(parts) < 3])
    listed = {part: found.below(part) for part in called}
    for part, other in (("train", "test"), ("test", "train")):
        filled = {parts[1] for parts in images if parts[0] == part and len(parts) > 2}
        problems += _named(f"{called[part]}/ has {{}} class folder(s) without an image", listed[part] - filled)
        lacking = listed[other] - listed[part]
        problems += _named(f"{called[part]}/ lacks {{}} class folder(s) that {called[other]}/ has", lacking)
    classes = sorted({parts[1] for parts in images if parts[0] == "train" and len(parts) > 2})
    problems += _class_problems(classes)
    _refuse(problems, origin)
    position = {name: number for number, name in enumerate(classes)}
    ordered = sorted(images, key=lambda parts: (parts[0] != "train", parts))
    labels = np.array([position[parts[1]] for parts in ordered], np.int64)
    train_count = sum(parts[0] == "train" for parts in ordered)
    paths = tuple(original[parts] for parts in ordered)
    keys = _keys([parts[1:] for parts in ordered])
    without = [original[parts] for parts in found.images if parts[0] == LEFT_OUT]
    return Layout(tuple(map(readable, classes)), paths, labels, train_count, left_out(names, without), keys)


def _class_layout(
    found: Tree, original: Mapping[Parts, str], names: list[Parts], origin: str, by_image: bool
) -> Layout:
    """Of a tree ``<class>/...``; a fifth of each class becomes the test part."""
    counts = Counter(parts[0] for parts in found.images if len(parts) > 1)
    classes = sorted(counts)
    problems = _beside_a_wrapper(found, original)
    if not problems:
        problems = _loose([original[parts] for parts in found.images if len(parts) < 2])
        problems += _named("{} class folder(s) without an image", set(found.tops()) - counts.keys())
        problems += _class_problems(classes)
    small = [f"{readable(name)} ({counts[name]})" for name in classes if counts[name] < 2]
    if small:
        problems.append(f"too few images to carve a test part from, at least 2 a class are needed: {some(small)}")
    _refuse(problems, origin)
    position = {name: number for number, name in enumerate(classes)}
    ordered = sorted(found.images)
    labels = np.array([position[parts[0]] for parts in ordered], np.int64)
    keys = _keys(ordered)
    if by_image:
        rest, test = splits.carve(labels, len(classes), TEST_FRACTION, TEST_SEED_BY_IMAGE, keys)
    else:
        rest, test = splits.carve(labels, len(classes), TEST_FRACTION, TEST_SEED)
    rows = np.concatenate([rest, test])
    paths = tuple(original[ordered[row]] for row in rows)
    return Layout(tuple(map(readable, classes)), paths, labels[rows], len(rest), left_out(names), keys[rows])


def _keys(images: list[Parts]) -> np.ndarray:
    return np.array([splits.key_of("/".join(parts)) for parts in images], np.uint64)


def _beside_a_wrapper(found: Tree, original: Mapping[Parts, str]) -> list[str]:
    """A folder around all class folders is none itself, but for an image that lies beside them."""
    if len(found.tops()) != 1:
        return []
    inner = sorted({parts[1] for parts in found.images if len(parts) > 2})
    loose = sorted(readable(original[parts]) for parts in found.images if len(parts) < 3)
    if len(inner) < 2 or not loose:
        return []
    top = readable(found.tops()[0])
    return [
        f"{len(loose)} image(s) lie beside the folders of {top}/ ({some(list(map(readable, inner)))}): {some(loose)}; "
        "if those folders are the classes, move these images into one of them or take them away"
    ]


def _loose(names: list[str]) -> list[str]:
    return _named("{} image(s) lie in no class folder", names)


def _named(sentence: str, names: Collection[str]) -> list[str]:
    """The sentence with the number of names in its gap and the names behind it; nothing when there are none."""
    return [f"{sentence.format(len(names))}: {some(sorted(map(readable, names)))}"] if names else []


def _class_problems(classes: list[str]) -> list[str]:
    shown = Counter(map(readable, classes))
    problems = _named("{} class name(s) stand for two folders each", [name for name in shown if shown[name] > 1])
    if len(classes) < 2:
        found = some(list(shown)) or "none"
        problems.append(f"a classifier needs at least 2 classes with images, found {len(classes)}: {found}")
    return problems


def _refuse_doubt(doubt: str, found: Tree, origin: str) -> None:
    if doubt:
        raise Unclear(f"{origin}: {doubt}. What was found:\n{drawn(found)}")


def _refuse(problems: list[str], origin: str) -> None:
    if problems:
        *first, last = [f"{origin}: {problem}" for problem in problems]
        raise DataError([*first, f"{last}; {_EXPECTED}"])
