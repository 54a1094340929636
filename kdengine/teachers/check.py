"""Does a teacher know these data? Class order and normalisation, found by its accuracy on pictures with labels.

Only training and validation pictures are looked at, never the test part. A permutation that is found by accuracy is
judged on other pictures than it was found on (two halves, each judging the other's), or a net that knows nothing would
look as if it knew something. A difference counts when it is larger than three standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone, Shapes
from kdengine.models.stored import ModelCard
from kdengine.teachers import records, weights
from kdengine.teachers.published import HALF
from kdengine.teachers.records import Imported, Rgb
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace

LEAST_PICTURES, MOST_PICTURES, PER_CLASS = 512, 2048, 10
QUICK_PICTURES = 256
BATCH = 128
SHOWN = 3
STANDARD_ERRORS = 3.0
# Our choices, from 24 untrained nets on digits: pictures of a class look alike to them and fall on one output together,
# so that they are right for up to 18 % as they are, and in the best order found for up to 42 %.
LUCK = 0.1
GOOD = 0.5
PLAIN: tuple[Rgb, Rgb] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Order = tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """What one normalisation gives.

    Attributes:
        normalisation: its name in words; mean, std: its numbers.
        as_is: accuracy with the class order as it is, 0..1.
        by_names: with the order that the names ask for; None where they ask for none.
        found: with an order found by accuracy, on other pictures than it was found on.
        order: that order, found on all pictures: class c is answered by row ``order[c]``.
    """

    normalisation: str
    mean: Rgb
    std: Rgb
    as_is: float
    by_names: float | None
    found: float
    order: Order

    @property
    def best(self) -> float:
        """The highest of the three; an order found by the answers counts only where it is right for half of them."""
        return max(self.as_is, self.by_names or 0.0, self.believed)

    @property
    def believed(self) -> float:
        """Accuracy with the order found, 0 where that is too low to be believed."""
        return self.found if self.found >= GOOD else 0.0


@dataclass(frozen=True)
class Check:
    """A teacher looked at with data.

    Attributes:
        data: name of the data set; pictures: how many were shown.
        shapes: of the teacher's outputs.
        chance: the accuracy above which it knows more than chance.
        trials: its own normalisation first, then the usual ones that differ from it.
        chosen: the trial to go by: its own, unless another one is clearly better.
        order: the class order to store; None when it is right as it is.
        names: whether the class names are those of the data.
        lines: the verdict in words.
    """

    data: str
    pictures: int
    shapes: Shapes
    chance: float
    trials: tuple[Trial, ...]
    chosen: Trial
    order: Order | None
    names: bool
    lines: tuple[str, ...]

    @property
    def knows(self) -> bool:
        """Whether it is above chance, mended or not."""
        return self.chosen.best > self.chance

    @property
    def accuracy(self) -> float:
        """Of the teacher as it is stored now, 0..1."""
        return self.trials[0].as_is

    @property
    def mendable(self) -> bool:
        """Whether storing what was found changes its answers."""
        return self.knows and (self.order is not None or self.chosen is not self.trials[0])


def check(imported: Imported, bundle: DatasetBundle) -> Check:
    """Looks at an import with pictures of the train and validation parts, on the CPU.

    Raises:
        BadInput: another number of classes or another picture size than the data's.
    """
    check_fits(imported, bundle)
    backbone, card = weights.load(imported)
    pictures, labels = sample(bundle, min(MOST_PICTURES, max(LEAST_PICTURES, PER_CLASS * len(bundle.classes))))
    wanted = order_by_names(card, bundle.classes) if imported.named else None
    trials = [
        _trial(label, mean, std, logits(backbone, mean, std, pictures), labels, wanted)
        for label, mean, std in _normalisations(imported, bundle)
    ]
    chosen = trials[0]
    for trial in trials[1:]:
        if clearly_better(trial.best, chosen.best, len(labels)):
            chosen = trial
    order = _order(chosen, wanted, len(labels))
    names = imported.named and imported.classes == bundle.classes
    chance = chance_level(labels, len(bundle.classes))
    found = Check(bundle.name, len(labels), backbone.shapes(), chance, tuple(trials), chosen, order, names, lines=())
    return replace(found, lines=tuple(_verdict(imported, bundle, found, wanted)))


def mend(workspace: Workspace, imported: Imported, bundle: DatasetBundle, found: Check) -> Imported:
    """Stores what a check found: class order, normalisation, and the data's names for the classes.

    Raises:
        BadInput: it knows these data no better than chance in any order, or a run needs it as it is.
    """
    if not found.knows:
        raise BadInput(Problem("mend", found.lines[-1]))
    if found.mendable:
        records.check_unneeded(workspace, imported, "changed")
    notes = list(imported.notes)
    order = imported.order
    if found.order is not None:
        before = order or tuple(range(len(bundle.classes)))
        order = tuple(before[row] for row in found.order)
        notes.append(f"classes put into the order of {bundle.name}")
    if found.chosen is not found.trials[0]:
        notes.append(f"normalisation changed to {found.chosen.normalisation}")
    accuracy = found.chosen.best if found.order is not None else found.chosen.as_is
    mended = replace(
        imported, order=order, classes=bundle.classes, named=True, mean=found.chosen.mean, std=found.chosen.std,
        notes=tuple(notes), checks=imported.checks | {bundle.name: accuracy},
    )  # fmt: skip
    mended.write()
    return mended


def remember(imported: Imported, found: Check) -> Imported:
    """Notes on the card how right the teacher is on these data as it is stored; its digest stays."""
    noted = replace(imported, checks=imported.checks | {found.data: found.accuracy})
    noted.write()
    return noted


def check_fits(imported: Imported, bundle: DatasetBundle) -> None:
    """Raises BadInput when number of classes or picture size differ from the data's, with both numbers."""
    if len(imported.classes) != len(bundle.classes):
        counts = f"knows {len(imported.classes)} classes, {bundle.name} has {len(bundle.classes)}"
        raise BadInput(Problem(records.FIELD, f"the teacher {imported.id} {counts}; they must be the same"))
    if imported.image_size != bundle.image_size:
        sizes = f"takes {imported.image_size} px pictures, the data's are {bundle.image_size} px"
        message = f"the teacher {imported.id} {sizes}; set data.image_size={imported.image_size}"
        raise BadInput(Problem(records.FIELD, message))


def check_order(imported: Imported, bundle: DatasetBundle) -> float:
    """The quick look before each run: one batch, with the stored order and normalisation.

    A teacher at chance is the commonest silent mistake, and never what one wants: it is refused, always. So is one
    whose classes stand in another order than the data's, by its names or by its answers.

    Returns:
        The teacher's accuracy on that batch, 0..1.

    Raises:
        BadInput: it does not fit, answers no better than chance, or in another order.
    """
    check_fits(imported, bundle)
    way_out = f"`kd import {imported.name} --check --dataset {bundle.name}` looks closer, --mend stores what it finds"
    if imported.named and imported.classes != bundle.classes:
        pairs = zip(imported.classes, bundle.classes, strict=True)
        different = ", ".join(f"{ours!r} and {theirs!r}" for ours, theirs in list(pairs)[:SHOWN] if ours != theirs)
        message = f"the teacher {imported.id} and {bundle.name} name their classes differently or in another order"
        raise BadInput(Problem(records.FIELD, f"{message} ({different}); {way_out}"))
    trial, chance, count = _quick(imported, bundle)
    if clearly_better(trial.believed, trial.as_is, count) and trial.believed > chance:
        message = f"answers right for {_percent(trial.as_is)}, with its classes in another order for "
        message += f"{_percent(trial.found)} of {count} pictures"
        raise BadInput(Problem(records.FIELD, f"the teacher {imported.id} {message}; {way_out}"))
    if trial.as_is <= chance:
        message = f"is right for {_percent(trial.as_is)} of {count} pictures, which is no better than chance"
        raise BadInput(Problem(records.FIELD, f"the teacher {imported.id} {message}; {way_out}"))
    return trial.as_is


_LOOKED_AT: dict[tuple[str, str], tuple[Trial, float, int]] = {}
"""What the quick look saw: a page asks again at every change of a form, a comparison for each of its arms."""


def _quick(imported: Imported, bundle: DatasetBundle) -> tuple[Trial, float, int]:
    key = (imported.digest, bundle.digest)
    if key not in _LOOKED_AT:
        backbone, _ = weights.load(imported)
        pictures, labels = sample(bundle, QUICK_PICTURES)
        answers = logits(backbone, imported.mean, imported.std, pictures)
        trial = _trial("its own", imported.mean, imported.std, answers, labels, None)
        _LOOKED_AT[key] = trial, chance_level(labels, len(bundle.classes)), len(labels)
    return _LOOKED_AT[key]


# pictures and answers -------------------------------------------------------------------------------------------------


def sample(bundle: DatasetBundle, count: int) -> tuple[np.ndarray, Tensor]:
    """Pictures with labels: of validation first, of the training part where those are too few; classes take turns.

    Returns:
        uint8 (n, H, W, 3) and int64 (n,), n up to ``count``; class after class in turn, so that each half has each.
    """
    parts = [(part, _turns(part.labels)) for part in (bundle.validation, bundle.train)]
    pictures, labels, left = [], [], count
    for part, order in parts:
        chosen = order[:left]
        pictures.append(part.pictures(chosen))
        labels.append(part.labels[chosen])
        left -= len(chosen)
    return np.concatenate(pictures), torch.from_numpy(np.concatenate(labels))


def _turns(labels: np.ndarray) -> np.ndarray:
    """Indices such that every class comes once before any comes twice; the same ones every time."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    return shuffled[np.argsort(_rank_in_class(labels[shuffled]), kind="stable")]


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """For each label (N,), how many equal ones stand before it."""
    by_class = np.argsort(labels, kind="stable")
    sorted_labels = labels[by_class]
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return rank


@torch.no_grad()
def logits(backbone: Backbone, mean: Rgb, std: Rgb, pictures: np.ndarray) -> Tensor:
    """Answers (N, C) to uint8 pictures (N, H, W, 3) under a normalisation, on the CPU."""
    plain_mean, plain_std = PLAIN
    teacher = FrozenTeacher(
        backbone, mean=mean, std=std, batch_mean=plain_mean, batch_std=plain_std, device=torch.device("cpu"), fold=False
    )
    answers = []
    for start in range(0, len(pictures), BATCH):
        pixels = torch.from_numpy(pictures[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
        answers.append(teacher(pixels).logits)
    return torch.cat(answers)


def _normalisations(imported: Imported, bundle: DatasetBundle) -> list[tuple[str, Rgb, Rgb]]:
    usual = (
        (f"that of {bundle.name}", bundle.mean, bundle.std),
        ("ImageNet's", *weights.IMAGENET),
        ("0.5 and 0.5", *HALF),
        ("none (pixels of 0..1)", *PLAIN),
    )
    own = imported.mean, imported.std
    return [("its own", *own), *((name, mean, std) for name, mean, std in usual if (mean, std) != own)]


# orders ---------------------------------------------------------------------------------------------------------------


def order_by_names(card: ModelCard, classes: Sequence[str]) -> Order | None:
    """The row for each class of the data, by name; None where the names are not the same set, or not unique."""
    rows = {name: row for row, name in enumerate(card.classes)}
    if len(rows) != len(classes) or set(rows) != set(classes):
        return None
    return tuple(rows[name] for name in classes)


def order_by_accuracy(answers: Tensor, labels: Tensor) -> Order:
    """The order under which most answers are right (Hungarian method); class c is answered by row ``order[c]``.

    Kuhn: The Hungarian method for the assignment problem. Naval Research Logistics, 1955; scipy's implementation. Rows
    and classes that tell nothing stay where they are.
    """
    # Imported here: every training process loads this module, few ask for an order.
    from scipy.optimize import linear_sum_assignment

    classes = answers.shape[1]
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels.numpy(), answers.argmax(dim=1).numpy()), 1.0)
    # Less than any picture: it only decides where nothing else does.
    confusion += np.eye(classes) / (2 * classes)
    _, rows = linear_sum_assignment(confusion, maximize=True)
    return tuple(int(row) for row in rows)


def accuracy(answers: Tensor, labels: Tensor, order: Order | None = None) -> float:
    """Share of pictures (N, C) that are answered right under an order, 0..1."""
    ordered = answers if order is None else answers[:, list(order)]
    return float((ordered.argmax(dim=1) == labels).float().mean())


def _trial(label: str, mean: Rgb, std: Rgb, answers: Tensor, labels: Tensor, wanted: Order | None) -> Trial:
    return Trial(
        label, mean, std,
        as_is=accuracy(answers, labels),
        by_names=None if wanted is None else accuracy(answers, labels, wanted),
        found=_honest_accuracy(answers, labels),
        order=order_by_accuracy(answers, labels),
    )  # fmt: skip


def _honest_accuracy(answers: Tensor, labels: Tensor) -> float:
    """Of orders found on one half of the pictures and judged on the other, both ways."""
    half = torch.from_numpy(_rank_in_class(labels.numpy()) % 2 == 0)
    right = 0.0
    for found_on in (half, ~half):
        if not found_on.any() or found_on.all():
            return 0.0
        order = order_by_accuracy(answers[found_on], labels[found_on])
        judged = ~found_on
        right += accuracy(answers[judged], labels[judged], order) * int(judged.sum())
    return right / len(labels)


def _order(trial: Trial, wanted: Order | None, count: int) -> Order | None:
    """The order to store: what the names say, else as it is, unless another is clearly better; None: as it is."""
    identity = tuple(range(len(trial.order)))
    candidates = [(wanted, trial.by_names)] if wanted is not None and trial.by_names is not None else []
    candidates += [(identity, trial.as_is), (trial.order, trial.believed)]
    order, best = candidates[0]
    for other, value in candidates[1:]:
        if value is not None and clearly_better(value, best or 0.0, count):
            order, best = other, value
    return None if order == identity else order


# words ----------------------------------------------------------------------------------------------------------------


def clearly_better(one: float, other: float, count: int) -> bool:
    """Whether an accuracy is higher by more than three standard errors of the difference, over ``count`` pictures."""
    error = math.sqrt((one * (1 - one) + other * (1 - other)) / count)
    return one > other and one - other > STANDARD_ERRORS * error


def chance_level(labels: Tensor, classes: int) -> float:
    """The accuracy, 0..1, that a net must exceed to know something.

    What guessing the most frequent class reaches, and on top of it three standard errors, or the luck of an untrained
    net where that is more: as much again, ten points at most (our choice).
    """
    share = float(torch.bincount(labels, minlength=classes).max()) / len(labels)
    return share + max(STANDARD_ERRORS * math.sqrt(share * (1 - share) / len(labels)), min(share, LUCK))


def _verdict(imported: Imported, bundle: DatasetBundle, found: Check, wanted: Order | None) -> list[str]:
    own, chosen = found.trials[0], found.chosen
    lines = [f"right for {_percent(own.as_is)} of {found.pictures} pictures as it is; chance {_percent(found.chance)}"]
    if not found.knows:
        return [*lines, f"no better than chance, in any class order and under any usual normalisation (best: "
                        f"{_percent(max(trial.best for trial in found.trials))}); was it trained on other pictures, at "
                        "another size, or is it another net of the same shapes?"]  # fmt: skip
    if chosen is not own:
        lines.append(
            f"the normalisation seems to be {chosen.normalisation} (mean {_numbers(chosen.mean)}, std "
            f"{_numbers(chosen.std)}): {_percent(chosen.best)} instead of {_percent(own.best)}"
        )
    if found.order is not None:
        how = "by the names" if found.order == wanted else "by its answers"
        value = chosen.by_names if found.order == wanted else chosen.found
        moved = [number for number, row in enumerate(found.order) if row != number]
        lines.append(
            f"the classes stand in another order: put right {how}, {_percent(value or 0.0)} instead of "
            f"{_percent(chosen.as_is)} ({len(moved)} of {len(found.order)} classes move)"
        )
        if wanted is not None and found.order != wanted:
            lines.append("the class names given do not describe these weights: its answers say another order")
    elif wanted is None and imported.named:
        lines.append(f"its class names are not those of {bundle.name}, but it answers in the same order")
    elif not imported.named:
        lines.append("the classes have no names; they are taken to be those of the data, in the same order")
    else:
        lines.append("the classes stand in the order of the data")
    if found.mendable or not found.names:
        lines.append("--mend stores that" if found.mendable else "--mend stores the names of the data")
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _numbers(values: Rgb) -> str:
    return ",".join(f"{value:.3g}" for value in values)
