"""Names of weights from elsewhere, told from their shapes and their order: exact and one to one, or not at all."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

Signature = tuple[tuple[str, tuple[int, ...]], ...]
COUNTER = "num_batches_tracked"


def rename(foreign: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Finds for each foreign name the one that it has here.

    A module is known by the shapes of all its tensors. Of those that are alike, the first of one side is the first of
    the other, in the order of their names (``layer1.2`` before ``layer1.10``). Names that are words must agree with
    each other throughout: where ``bn1`` were once ``bn1`` and once ``bn2``, the order of the names would not be that
    of the layers.

    Args:
        foreign: name -> tensor, as the file has them.
        expected: name -> tensor, as the architecture has them; the classifier with the rows that the file has.

    Returns:
        Foreign name -> name here, of every tensor but counters of batches; None where the two nets differ in a shape
        or a module, or their names contradict each other.
    """
    theirs, ours = _modules(foreign), _modules(expected)
    if Counter(theirs.values()) != Counter(ours.values()):
        return None
    pairs = dict(_paired(theirs, ours))
    if not _agree(pairs):
        return None
    return {
        f"{their}.{suffix}": f"{our}.{suffix}" for their, our in pairs.items() for suffix, _ in theirs[their]
    }  # fmt: skip


def said(names: Mapping[str, str], most: int) -> str:
    """What goes by another name, in words: ``linear -> fc``, so many of them; "" where nothing does."""
    modules = {old.rpartition(".")[0]: new.rpartition(".")[0] for old, new in names.items()}
    other = [f"{old} -> {new}" for old, new in sorted(modules.items(), key=_natural) if old != new]
    more = f", ... ({len(other)} in all)" if len(other) > most else ""
    return ", ".join(other[:most]) + more


def _modules(tensors: Mapping[str, Tensor]) -> dict[str, Signature]:
    """Of each module with weights, the names and shapes of these."""
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    for name, value in tensors.items():
        module, _, suffix = name.rpartition(".")
        if suffix != COUNTER:
            found[module].append((suffix, tuple(value.shape)))
    return {module: tuple(sorted(shapes)) for module, shapes in found.items()}


def _paired(theirs: Mapping[str, Signature], ours: Mapping[str, Signature]) -> list[tuple[str, str]]:
    alike: dict[Signature, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, modules in enumerate((theirs, ours)):
        for module, signature in modules.items():
            alike[signature][side].append(module)
    return [
        pair
        for first, second in alike.values()
        for pair in zip(sorted(first, key=_natural), sorted(second, key=_natural), strict=True)
    ]


def _agree(pairs: Mapping[str, str]) -> bool:
    """Whether each last word of a name stands for one word on the other side, and the other way round."""
    forth: dict[str, set[str]] = defaultdict(set)
    back: dict[str, set[str]] = defaultdict(set)
    for old, new in pairs.items():
        words = old.rpartition(".")[2], new.rpartition(".")[2]
        if not any(word.isdigit() for word in words):
            forth[words[0]].add(words[1])
            back[words[1]].add(words[0])
    return all(len(words) == 1 for words in [*forth.values(), *back.values()])


def _natural(name: Any) -> list[Any]:
    """Sorts numbers within names as numbers."""
    text = name[0] if isinstance(name, tuple) else name
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
