"""Does a teacher know these data? Class order and normalisation, found by its accuracy on images with labels.

Only training and validation images are looked at, never the test part. A permutation that is found by accuracy is
judged on other images than it was found on (two halves, each judging the other's), or a net that knows nothing would
look as if it knew something. A difference counts when it is larger than three standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Shapes
from kdengine.teachers import records, weights
from kdengine.teachers.class_order import (
    Order,
    accuracy,
    chance_level,
    clearly_better,
    order_by_accuracy,
    order_by_names,
)
from kdengine.teachers.published import HALF
from kdengine.teachers.records import Imported, Rgb
from kdengine.teachers.sample import PLAIN, logits_of, rank_in_class, sample
from kdengine.workspace import Workspace

MIN_IMAGES, MAX_IMAGES, PER_CLASS = 512, 2048, 10
QUICK_IMAGES = 256
SHOWN = 3
GOOD = 0.5


@dataclass(frozen=True)
class Trial:
    """What one normalisation gives.

    Attributes:
        normalisation: its name in words; mean, std: its numbers.
        as_is: accuracy with the class order as it is, 0..1.
        by_names: with the order that the names ask for; None where they ask for none.
        found: with an order found by accuracy, on other images than it was found on.
        order: that order, found on all images: class c is predicted by row ``order[c]``.
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
        """The highest of the three; an order found by predictions counts only where it is right for half of them."""
        return max(self.as_is, self.by_names or 0.0, self.believed)

    @property
    def believed(self) -> float:
        """Accuracy with the order found, 0 where that is too low to be believed."""
        return self.found if self.found >= GOOD else 0.0


@dataclass(frozen=True)
class Check:
    """A teacher checked with data.

    Attributes:
        data: name of the data set; images: how many were shown.
        shapes: of the teacher's outputs.
        chance: the accuracy above which it knows more than chance.
        trials: its own normalisation first, then the usual ones that differ from it.
        chosen: the trial to go by: its own, unless another one is clearly better.
        order: the class order to store; None when it is right as it is.
        names: whether the class names are those of the data.
        lines: the verdict in words.
    """

    data: str
    images: int
    shapes: Shapes
    chance: float
    trials: tuple[Trial, ...]
    chosen: Trial
    order: Order | None
    names: bool
    lines: tuple[str, ...]

    @property
    def knows(self) -> bool:
        """Whether it is above chance, repaired or not."""
        return self.chosen.best > self.chance

    @property
    def accuracy(self) -> float:
        """Of the teacher as it is stored now, 0..1."""
        return self.trials[0].as_is

    @property
    def repairable(self) -> bool:
        """Whether storing what was found changes its predictions."""
        return self.knows and (self.order is not None or self.chosen is not self.trials[0])


def check(imported: Imported, bundle: DatasetBundle) -> Check:
    """Checks an import with images of the train and validation parts, on the CPU.

    Raises:
        BadInput: another number of classes or another image size than the data's.
    """
    check_fits(imported, bundle)
    backbone, card = weights.load(imported)
    images, labels = sample(bundle, min(MAX_IMAGES, max(MIN_IMAGES, PER_CLASS * len(bundle.classes))))
    wanted = order_by_names(card, bundle.classes) if imported.named else None
    trials = [
        _trial(label, mean, std, logits_of(backbone, mean, std, images), labels, wanted)
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


def repair(workspace: Workspace, imported: Imported, bundle: DatasetBundle, found: Check) -> Imported:
    """Stores what a check found: class order, normalisation, and the data's names for the classes.

    Raises:
        BadInput: it knows these data no better than chance in any order, or a run needs it as it is.
    """
    if not found.knows:
        raise BadInput(Problem("fix", found.lines[-1]))
    if found.repairable:
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
    repaired = replace(
        imported, order=order, classes=bundle.classes, named=True, mean=found.chosen.mean, std=found.chosen.std,
        notes=tuple(notes), checks=imported.checks | {bundle.name: accuracy},
    )  # fmt: skip
    repaired.write()
    return repaired


def remember(imported: Imported, found: Check) -> Imported:
    """Notes on the card how right the teacher is on these data as it is stored; its digest stays."""
    noted = replace(imported, checks=imported.checks | {found.data: found.accuracy})
    noted.write()
    return noted


def check_fits(imported: Imported, bundle: DatasetBundle) -> None:
    """Raises BadInput when number of classes or image size differ from the data's, with both numbers."""
    if len(imported.classes) != len(bundle.classes):
        counts = f"knows {len(imported.classes)} classes, {bundle.name} has {len(bundle.classes)}"
        raise BadInput(Problem(records.FIELD, f"the teacher {imported.id} {counts}; they must be the same"))
    if imported.image_size != bundle.image_size:
        sizes = f"takes {imported.image_size} px images, the data's are {bundle.image_size} px"
        message = f"the teacher {imported.id} {sizes}; set data.image_size={imported.image_size}"
        raise BadInput(Problem(records.FIELD, message))


def check_order(imported: Imported, bundle: DatasetBundle) -> float:
    """The quick check before each run: one batch, with the stored order and normalisation.

    A teacher at chance is the commonest silent mistake, and never what one wants: it is refused, always. So is one
    whose classes stand in another order than the data's, by its names or by its predictions.

    Returns:
        The teacher's accuracy on that batch, 0..1.

    Raises:
        BadInput: it does not fit, predicts no better than chance, or in another order.
    """
    check_fits(imported, bundle)
    way_out = f"`kd import {imported.name} --check --dataset {bundle.name}` says more, --fix stores what it finds"
    if imported.named and imported.classes != bundle.classes:
        pairs = zip(imported.classes, bundle.classes, strict=True)
        different = ", ".join(f"{ours!r} and {theirs!r}" for ours, theirs in list(pairs)[:SHOWN] if ours != theirs)
        message = f"the teacher {imported.id} and {bundle.name} name their classes differently or in another order"
        raise BadInput(Problem(records.FIELD, f"{message} ({different}); {way_out}"))
    trial, chance, count = _quick(imported, bundle)
    if clearly_better(trial.believed, trial.as_is, count) and trial.believed > chance:
        message = f"is right for {_percent(trial.as_is)}, with its classes in another order for "
        message += f"{_percent(trial.found)} of {count} images"
        raise BadInput(Problem(records.FIELD, f"the teacher {imported.id} {message}; {way_out}"))
    if trial.as_is <= chance:
        message = f"is right for {_percent(trial.as_is)} of {count} images, which is no better than chance"
        raise BadInput(Problem(records.FIELD, f"the teacher {imported.id} {message}; {way_out}"))
    return trial.as_is


_CHECKED: dict[tuple[str, str], tuple[Trial, float, int]] = {}
"""What the quick check saw: a page asks again at every change of a form, a comparison for each of its arms."""


def _quick(imported: Imported, bundle: DatasetBundle) -> tuple[Trial, float, int]:
    key = (imported.digest, bundle.digest)
    if key not in _CHECKED:
        backbone, _ = weights.load(imported)
        images, labels = sample(bundle, QUICK_IMAGES)
        logits = logits_of(backbone, imported.mean, imported.std, images)
        trial = _trial("its own", imported.mean, imported.std, logits, labels, None)
        _CHECKED[key] = trial, chance_level(labels, len(bundle.classes)), len(labels)
    return _CHECKED[key]


def _normalisations(imported: Imported, bundle: DatasetBundle) -> list[tuple[str, Rgb, Rgb]]:
    usual = (
        (f"that of {bundle.name}", bundle.mean, bundle.std),
        ("ImageNet's", *weights.IMAGENET),
        ("0.5 and 0.5", *HALF),
        ("none (pixels of 0..1)", *PLAIN),
    )
    own = imported.mean, imported.std
    return [("its own", *own), *((name, mean, std) for name, mean, std in usual if (mean, std) != own)]


def _trial(label: str, mean: Rgb, std: Rgb, logits: Tensor, labels: Tensor, wanted: Order | None) -> Trial:
    return Trial(
        label, mean, std,
        as_is=accuracy(logits, labels),
        by_names=None if wanted is None else accuracy(logits, labels, wanted),
        found=_honest_accuracy(logits, labels),
        order=order_by_accuracy(logits, labels),
    )  # fmt: skip


def _honest_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Of orders found on one half of the images and judged on the other, both ways."""
    half = torch.from_numpy(rank_in_class(labels.numpy()) % 2 == 0)
    right = 0.0
    for found_on in (half, ~half):
        if not found_on.any() or found_on.all():
            return 0.0
        order = order_by_accuracy(logits[found_on], labels[found_on])
        judged = ~found_on
        right += accuracy(logits[judged], labels[judged], order) * int(judged.sum())
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


def _verdict(imported: Imported, bundle: DatasetBundle, found: Check, wanted: Order | None) -> list[str]:
    own, chosen = found.trials[0], found.chosen
    lines = [f"right for {_percent(own.as_is)} of {found.images} images as it is; chance {_percent(found.chance)}"]
    if not found.knows:
        return [*lines, f"no better than chance, in any class order and under any usual normalisation (best: "
                        f"{_percent(max(trial.best for trial in found.trials))}); was it trained on other images, at "
                        "another size, or is it another net of the same shapes?"]  # fmt: skip
    if chosen is not own:
        lines.append(
            f"the normalisation seems to be {chosen.normalisation} (mean {_numbers(chosen.mean)}, std "
            f"{_numbers(chosen.std)}): {_percent(chosen.best)} instead of {_percent(own.best)}"
        )
    if found.order is not None:
        how = "by the names" if found.order == wanted else "by its predictions"
        value = chosen.by_names if found.order == wanted else chosen.found
        moved = [number for number, row in enumerate(found.order) if row != number]
        lines.append(
            f"the classes stand in another order: put right {how}, {_percent(value or 0.0)} instead of "
            f"{_percent(chosen.as_is)} ({len(moved)} of {len(found.order)} classes move)"
        )
        if wanted is not None and found.order != wanted:
            lines.append("the class names given do not describe these weights: its predictions say another order")
    elif wanted is None and imported.named:
        lines.append(f"its class names are not those of {bundle.name}, but its predictions are in the same order")
    elif not imported.named:
        lines.append("the classes have no names; they are taken to be those of the data, in the same order")
    else:
        lines.append("the classes stand in the order of the data")
    if found.repairable or not found.names:
        lines.append("--fix stores that" if found.repairable else "--fix stores the names of the data")
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _numbers(values: Rgb) -> str:
    return ",".join(f"{value:.3g}" for value in values)
