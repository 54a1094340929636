"""The tree of folders as it was found, and what it means: which folders are parts of a split, which are classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdengine.data.sources.names import readable
from kdengine.data.sources.roles import role
from kdengine.data.wording import some

SHOWN_TOPS, SHOWN_BELOW = 6, 4
LEFT_OUT = "unlabelled"
_SPLITS = ("train", "test", "validation")

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """Images and folders, as tuples of names from the top; of an image the last is the file's."""

    images: list[Parts]
    folders: set[Parts]

    def tops(self) -> list[str]:
        """Names of the folders at the top, in order."""
        return sorted({parts[0] for parts in self.folders})

    def below(self, top: str) -> set[str]:
        """Names of the folders right inside a top folder."""
        return {parts[1] for parts in self.folders if len(parts) == 2 and parts[0] == top}

    def moved(self, move: Callable[[Parts], Parts]) -> Tree:
        """The tree with every path moved."""
        return Tree([move(parts) for parts in self.images], {move(parts) for parts in self.folders} - {()})


@dataclass(frozen=True)
class Meaning:
    """What a tree means.

    Args:
        split: whether its top folders are parts of a split, else they are classes.
        move: where each path belongs in the form ``<train|test>/<class>/...``, or ``<class>/...`` without a split.
        words: what the folders of that form are called in the tree.
        doubt: why it is unclear, and what to do; "" when it can.
    """

    split: bool = False
    move: Callable[[Parts], Parts] = lambda parts: parts
    words: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""


def understand(found: Tree) -> Meaning:
    """Distinguishes splits from classes: by names where they are known, else by the shape of the tree."""
    if _split_in_each_class(found):
        swapped = found.moved(_swap)
        inner = _named(swapped)
        return Meaning(True, lambda parts: inner.move(_swap(parts)), inner.words, inner.doubt)
    known = {top for top in found.tops() if role(top) in (*_SPLITS, LEFT_OUT)}
    nested = any(parts[0] in known and len(parts) > 2 for parts in found.images)
    # Among other class folders, "train" and "test" may be classes themselves; then images lie right inside them.
    if not known or (known != set(found.tops()) and not nested):
        return Meaning(doubt=doubt_of_classes(found))
    if known != set(found.tops()) and {"train", "test"} - {role(top) for top in known}:
        others = sorted(set(found.tops()) - known)
        return Meaning(
            doubt=f"{_listed(sorted(known))} is the name of a part of a split and holds folders, but beside it there "
            f"is {some(others)}; lay out train/<class>/ and test/<class>/{_as_classes(found.tops())}"
        )
    return _named(found)


def doubt_of_classes(found: Tree) -> str:
    """Why the top folders may be no classes, and what to do; "" when nothing speaks against it."""
    tops = found.tops()
    if any(role(top) == "beside" for top in tops) and all(role(top) for top in tops):
        return (
            f"{_listed(tops)} look like images and what was noted of them, not like classes; give the folder that "
            f"holds one folder a class{_as_classes(tops)}"
        )
    holding = {parts[0] for parts in found.images}
    common = set.intersection(*({p[1] for p in found.images if p[0] == top and len(p) > 2} for top in holding or [""]))
    if len(holding) > 1 and len(common) > 1 and all(len(parts) > 2 for parts in found.images):
        return (
            f"{_listed(sorted(holding))} hold the same folders ({some(sorted(map(readable, common)))}) and no image "
            f"of their own, so they may be parts of a split; name them train/ and test/ if they are"
            f"{_as_classes(tops)}"
        )
    return ""


def drawn(found: Tree) -> str:
    """The first two levels with the number of images, a line a folder."""
    counts = Counter(parts[:depth] for parts in found.images for depth in (1, 2) if len(parts) > depth)
    tops = found.tops()
    lines = []
    for top in tops[:SHOWN_TOPS]:
        below = sorted(found.below(top))
        lines.append(f"  {readable(top)}/: {counts[(top,)]} image(s)")
        lines += [f"    {readable(name)}/: {counts[top, name]} image(s)" for name in below[:SHOWN_BELOW]]
        lines += [f"    ... and {len(below) - SHOWN_BELOW} more folder(s)"] if len(below) > SHOWN_BELOW else []
    return "\n".join(lines + ([f"  ... and {len(tops) - SHOWN_TOPS} more folder(s)"] if len(tops) > SHOWN_TOPS else []))


def _split_in_each_class(found: Tree) -> bool:
    """``<class>/<train|test>/<image>`` throughout."""
    return (
        all(len(parts) == 3 and role(parts[1]) in _SPLITS and role(parts[0]) is None for parts in found.images)
        and len({role(parts[1]) for parts in found.images}) > 1
    )


def _named(found: Tree) -> Meaning:
    """A tree whose top folders are parts of a split, one or two of them perhaps not."""
    words: dict[str, str] = {}
    for top in found.tops():
        named = role(top)
        if named in words:
            doubt = f"{_listed([words[named], top])} both look like the {named} part; keep one"
            return Meaning(True, doubt=doubt + _as_classes(found.tops()))
        if named in (*_SPLITS, LEFT_OUT):
            words[named] = top
    form = {top: named for named, top in words.items()}
    if "test" not in words and "validation" in words:
        # The usual meaning of train and val alone: what nets are compared by. Ours is carved from train.
        words["test"] = words.pop("validation")
        form[words["test"]] = "test"
    depths = {top: _depth_of_classes(found, top) for top in form}

    def move(parts: Parts) -> Parts:
        if not parts or parts[0] not in form:
            return parts
        return (form[parts[0]], *parts[depths[parts[0]] :])

    return Meaning(True, move, words)


def _depth_of_classes(found: Tree, top: str) -> int:
    """How deep the class folders of a part lie: ``seg_train/seg_train/<class>`` and ``test/images/<class>`` are 2."""
    way: Parts = (top,)
    while True:
        below = {p[len(way)] for p in found.folders if len(p) == len(way) + 1 and p[: len(way)] == way}
        loose = any(len(parts) <= len(way) + 1 for parts in found.images if parts[: len(way)] == way)
        if len(below) != 1 or loose or role(next(iter(below))) not in (role(top), "wrapper"):
            return len(way)
        way = (*way, below.pop())


def _swap(parts: Parts) -> Parts:
    return (parts[1], parts[0], *parts[2:]) if len(parts) > 1 else ()


def _listed(tops: list[str]) -> str:
    return some([f"{readable(top)}/" for top in tops])


def _as_classes(tops: list[str]) -> str:
    return f"; or set data.layout=classes if {_listed(tops)} are the classes"
