"""In which order a network has its classes, and how far its accuracy can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdengine.models.stored import ModelCard

STANDARD_ERRORS = 3.0
# Our choices, from 24 untrained nets on digits: images of a class look alike to them and fall on one output together,
# so that they are right for up to 18 % as they are, and in the best order found for up to 42 %.
LUCK = 0.1

Order = tuple[int, ...]


def order_by_names(card: ModelCard, classes: Sequence[str]) -> Order | None:
    """The row for each class of the data, by name; None where the names are not the same set, or not unique."""
    rows = {name: row for row, name in enumerate(card.classes)}
    if len(rows) != len(classes) or set(rows) != set(classes):
        return None
    return tuple(rows[name] for name in classes)


def order_by_accuracy(logits: Tensor, labels: Tensor) -> Order:
    """The order under which most predictions are right (Hungarian method); class c is predicted by row ``order[c]``.

    Kuhn: The Hungarian method for the assignment problem. Naval Research Logistics, 1955; scipy's implementation. Rows
    and classes that say nothing stay where they are.
    """
    # Imported here: every training process loads this module, few ask for an order.
    from scipy.optimize import linear_sum_assignment

    classes = logits.shape[1]
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels.numpy(), logits.argmax(dim=1).numpy()), 1.0)
    # Less than any image: it only decides where nothing else does.
    confusion += np.eye(classes) / (2 * classes)
    _, rows = linear_sum_assignment(confusion, maximize=True)
    return tuple(int(row) for row in rows)


def accuracy(logits: Tensor, labels: Tensor, order: Order | None = None) -> float:
    """Share of images (N, C) that are predicted right under an order, 0..1."""
    ordered = logits if order is None else logits[:, list(order)]
    return float((ordered.argmax(dim=1) == labels).float().mean())


def clearly_better(one: float, other: float, count: int) -> bool:
    """Whether an accuracy is higher by more than three standard errors of the difference, over ``count`` images."""
    error = math.sqrt((one * (1 - one) + other * (1 - other)) / count)
    return one > other and one - other > STANDARD_ERRORS * error


def chance_level(labels: Tensor, classes: int) -> float:
    """The accuracy, 0..1, that a net must exceed to know something.

    What guessing the most frequent class reaches, and on top of it three standard errors, or the luck of an untrained
    net where that is more: as much again, ten points at most (our choice).
    """
    share = float(torch.bincount(labels, minlength=classes).max()) / len(labels)
    return share + max(STANDARD_ERRORS * math.sqrt(share * (1 - share) / len(labels)), min(share, LUCK))
