"""What the predictions say about the classes: which go together, which are confused, how sure and right they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdengine.evaluation.accuracy import BINS
from kdengine.inspection.subject import UNKNOWN, Arrays, Subject, on_host
from kdengine.losses.class_alignment import class_correlation

TEMPERATURE = 4.0
"""Of the probabilities whose correlation is shown; our choice, the usual one of distillation."""

MAX_DISAGREEMENTS = 24


def class_relations(subject: Subject) -> Arrays:
    """``student``, ``teacher``, ``difference`` (C, C): Pearson's r of the probabilities of every two classes.

    At the method's temperature where it has one, else at `TEMPERATURE`. Rows and columns are class numbers;
    `side_by_side` puts them in the order in which they are shown.
    """
    temperature = float(getattr(subject.method.params, "temperature", TEMPERATURE))
    matrices: Arrays = {
        who: on_host(class_correlation(logits, temperature)) for who, logits in _of_networks(subject).items()
    }
    if "teacher" in matrices:
        matrices["difference"] = matrices["student"] - matrices["teacher"]
    return matrices


def side_by_side(matrices: Arrays) -> Arrays:
    """`class_relations` in the order that is returned as ``order`` (C,) too: classes that are alike stand together.

    Alike in the teacher's eyes, in the student's where there is no teacher. What a run of an earlier version recorded
    has its order already and stays as it is.
    """
    if "order" in matrices:
        return matrices
    order = by_likeness(matrices.get("teacher", matrices["student"]))
    return {name: values[np.ix_(order, order)] for name, values in matrices.items()} | {"order": order}


def by_likeness(matrix: np.ndarray) -> np.ndarray:
    """An order (C,) in which classes that are alike stand side by side: leaves of an average-linkage tree.

    Args:
        matrix: symmetric (C, C), higher = more alike, at most 1.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    apart = np.clip(1 - np.asarray(matrix, np.float64), 0, None)
    apart = (apart + apart.T) / 2
    np.fill_diagonal(apart, 0)
    return np.asarray(
        leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=len(matrix) <= 200))
    )


def confusion(subject: Subject) -> Arrays:
    """``student`` and ``teacher`` (C, C): how many images of class i were taken for class j."""
    labels = torch.from_numpy(subject.many.labels)
    known = labels != UNKNOWN
    count = len(subject.classes)
    found: Arrays = {}
    for who, logits in _of_networks(subject).items():
        given = logits.argmax(1)
        cells = torch.bincount(labels[known] * count + given[known], minlength=count * count)
        found[who] = on_host(cells.view(count, count))
    return found


def calibration(subject: Subject) -> Arrays:
    """``<who>_confidence``, ``<who>_accuracy``, ``<who>_share`` (15,): per bin of confidence, of student and teacher.

    Guo et al., ICML 2017, figure 1. Empty bins are NaN in the first two; ``share`` is the share of the images.
    """
    labels = torch.from_numpy(subject.many.labels)
    known = labels != UNKNOWN
    found: Arrays = {}
    for who, logits in _of_networks(subject).items():
        found |= {f"{who}_{what}": values for what, values in bins(logits[known], labels[known]).items()}
    return found


def _of_networks(subject: Subject) -> dict[str, Tensor]:
    """Logits of the student and, where there is one, of the teacher, without those of the exits."""
    return {who: subject.logits[who] for who in subject.networks}


def bins(logits: Tensor, labels: Tensor, count: int = BINS) -> Arrays:
    """Confidence, accuracy and share of each of ``count`` equal bins of confidence, (count,) each."""
    sure, given = logits.double().softmax(1).max(1)
    place = (sure * count).long().clamp(max=count - 1)
    number = torch.bincount(place, minlength=count).double()
    confidence = torch.bincount(place, sure, minlength=count) / number
    accuracy = torch.bincount(place, (given == labels).double(), minlength=count) / number
    share = number / max(1, len(labels))
    return {"confidence": on_host(confidence), "accuracy": on_host(accuracy), "share": on_host(share)}


def exit_accuracy(subject: Subject) -> Arrays:
    """Accuracy of each exit, shallow to deep, of ``student`` and ``teacher``: 0-d arrays by name."""
    labels = torch.from_numpy(subject.many.labels)
    known = labels != UNKNOWN
    if not known.any():
        return {}
    return {
        name: on_host((logits.argmax(1)[known] == labels[known]).double().mean())
        for name, logits in subject.logits.items()
    }


def disagreements(subject: Subject) -> Arrays:
    """The images on which student and teacher differ most surely: highest product of their two confidences first.

    ``pixels`` uint8 (K, S, S, 3), ``truth``, ``student``, ``teacher`` int64 (K,), ``student_confidence`` and
    ``teacher_confidence`` (K,), and ``share``, that of all images on which they differ. {} without a teacher.
    """
    if "teacher" not in subject.logits:
        return {}
    (sure, given), (guide_sure, guide_given) = (
        subject.logits[who].double().softmax(1).max(1) for who in ("student", "teacher")
    )
    differ = given != guide_given
    ranked = torch.where(differ, sure * guide_sure, -1.0).argsort(descending=True, stable=True)
    chosen = ranked[: min(MAX_DISAGREEMENTS, int(differ.sum()))]
    return {
        "pixels": subject.many.pixels[chosen.numpy()],
        "truth": subject.many.labels[chosen.numpy()],
        "student": on_host(given[chosen]),
        "teacher": on_host(guide_given[chosen]),
        "student_confidence": on_host(sure[chosen]),
        "teacher_confidence": on_host(guide_sure[chosen]),
        "share": on_host(differ.double().mean()),
    }
