"""Stratified, seeded splits of labels. A draw depends on (seed, class) only, so one class never disturbs another.

Where images have keys of their own, a draw depends on (seed, key) alone, so that one image never disturbs another.
"""

from __future__ import annotations

import hashlib

import numpy as np

SLACK = 0.1


def shuffled_by_class(labels: np.ndarray, classes: int, seed: int, keys: np.ndarray | None = None) -> list[np.ndarray]:
    """For each class, the positions (int64) of its samples in ``labels`` (N,), in an order fixed by the seed.

    With ``keys`` (`key_of`, (N,) uint64) the place of two samples towards each other depends on nothing but their keys.
    """
    return _ordered(labels, classes, seed, _drawn(keys, seed))


def _ordered(labels: np.ndarray, classes: int, seed: int, drawn: np.ndarray | None) -> list[np.ndarray]:
    orders = []
    for label in range(classes):
        positions = np.flatnonzero(labels == label)
        own = np.random.default_rng([seed, label]).random(len(positions)) if drawn is None else drawn[positions]
        orders.append(positions[np.argsort(own, kind="stable")])
    return orders


def carve(
    labels: np.ndarray, classes: int, fraction: float, seed: int, keys: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits positions 0..N-1 of ``labels`` in two: (rest, carved), both ascending int64.

    ``carved`` holds the nearest whole number to ``fraction`` of each class, at least 1 and never the whole class of two
    or more; it is empty when ``fraction`` is 0. With ``keys`` it holds those whose draw lies below ``fraction``, so
    that samples that come later move none of the others; only where these are more than a tenth away from the whole
    number above, as in small classes, as many as are a tenth away.
    """
    if fraction == 0:
        return np.arange(len(labels)), np.empty(0, np.int64)
    drawn = _drawn(keys, seed)
    orders = _ordered(labels, classes, seed, drawn)
    counts = [carved_count(len(order), fraction) for order in orders]
    if drawn is not None:
        below = drawn < fraction
        counts = [_near(int(below[order].sum()), n, len(order)) for n, order in zip(counts, orders, strict=True)]
    carved = np.sort(np.concatenate([order[:count] for order, count in zip(orders, counts, strict=True)]))
    rest = np.setdiff1d(np.arange(len(labels)), carved, assume_unique=True)
    return rest, carved


def carved_count(available: int, fraction: float) -> int:
    """How many of ``available`` samples of a class are carved out for a ``fraction`` above 0."""
    return max(1, min(round(available * fraction), available - 1))


def _near(found: int, wanted: int, available: int) -> int:
    slack = int(wanted * SLACK)
    return min(max(found, wanted - slack), wanted + slack, max(available - 1, 1))


def key_of(name: str) -> int:
    """What a draw knows of an image: 64 bits of the digest of its relative name."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "little")


def draws(keys: np.ndarray, seed: int) -> np.ndarray:
    """float64 (N,), 0 up to below 1: evenly spread, and of each key (N,) whatever others there are."""
    return np.array([_draw(int(key), seed) for key in keys], np.float64)


def _drawn(keys: np.ndarray | None, seed: int) -> np.ndarray | None:
    return None if keys is None else draws(keys, seed)


def _draw(key: int, seed: int) -> float:
    word = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return (int.from_bytes(word[:8], "little") >> 11) / (1 << 53)


def keep_per_class(
    labels: np.ndarray, classes: int, count: int, seed: int, keys: np.ndarray | None = None
) -> np.ndarray:
    """Ascending positions of ``count`` samples of each class; a smaller count is a subset of a larger one."""
    return np.sort(np.concatenate([order[:count] for order in shuffled_by_class(labels, classes, seed, keys)]))


def keep_fraction(
    labels: np.ndarray, classes: int, fraction: float, seed: int, keys: np.ndarray | None = None
) -> np.ndarray:
    """Ascending positions of the nearest whole number to ``fraction`` of each class, at least one."""
    orders = shuffled_by_class(labels, classes, seed, keys)
    return np.sort(np.concatenate([order[: max(1, round(len(order) * fraction))] for order in orders]))
