"""Stratified, seeded splits of labels. A draw depends on (seed, class) only, so one class never disturbs another."""

from __future__ import annotations

import numpy as np


def shuffled_by_class(labels: np.ndarray, classes: int, seed: int) -> list[np.ndarray]:
    """For each class, the positions (int64) of its samples in ``labels`` (N,), in an order fixed by the seed."""
    orders = []
    for label in range(classes):
        positions = np.flatnonzero(labels == label)
        keys = np.random.default_rng([seed, label]).random(len(positions))
        orders.append(positions[np.argsort(keys, kind="stable")])
    return orders


def carve(labels: np.ndarray, classes: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits positions 0..N-1 of ``labels`` in two: (rest, carved), both ascending int64.

    ``carved`` holds the nearest whole number to ``fraction`` of each class, at least 1 and never the whole class of two
    or more; it is empty when ``fraction`` is 0.
    """
    if fraction == 0:
        return np.arange(len(labels)), np.empty(0, np.int64)
    counts = [carved_count(int(n), fraction) for n in np.bincount(labels, minlength=classes)]
    orders = shuffled_by_class(labels, classes, seed)
    carved = np.sort(np.concatenate([order[:count] for order, count in zip(orders, counts, strict=True)]))
    rest = np.setdiff1d(np.arange(len(labels)), carved, assume_unique=True)
    return rest, carved


def carved_count(available: int, fraction: float) -> int:
    """How many of ``available`` samples of a class are carved out for a ``fraction`` above 0."""
    return max(1, min(round(available * fraction), available - 1))


def keep_per_class(labels: np.ndarray, classes: int, count: int, seed: int) -> np.ndarray:
    """Ascending positions of ``count`` samples of each class; a smaller count is a subset of a larger one."""
    return np.sort(np.concatenate([order[:count] for order in shuffled_by_class(labels, classes, seed)]))


def keep_fraction(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Ascending positions of the nearest whole number to ``fraction`` of each class, at least one."""
    orders = shuffled_by_class(labels, classes, seed)
    return np.sort(np.concatenate([order[: max(1, round(len(order) * fraction))] for order in orders]))
