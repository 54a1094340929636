"""A run, a panel, an epoch, some images -> what there is to draw: read where it was recorded, else computed now."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kdengine.errors import BadInput, Problem
from kdengine.evaluation.classifier import open_image, squared
from kdengine.figures.seen import Seen
from kdengine.inspection import recordings as store
from kdengine.inspection.choice import shown
from kdengine.inspection.opening import BEST, LAST, Epoch, data_of, epochs_with_weights, kept_epochs
from kdengine.inspection.panels import GRAPHED, PANELS, Panel, panel
from kdengine.inspection.ready import arrays_of, stamp, subject_of
from kdengine.inspection.subject import UNKNOWN, Arrays, Images, Subject
from kdengine.jobs.beside import beside_training
from kdengine.methods import get_method
from kdengine.models.stored import read_card
from kdengine.spec import ExperimentSpec
from kdengine.training.hardware import pick_device
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory, short_id

MAX_IMAGES = 128
PREDICTIONS = "predictions"
WITH_PREDICTIONS = ("maps", "graph", "plane", "tiles")
"""Kinds of panels that show images one by one."""


def epochs(run: RunDirectory) -> list[int]:
    """Epochs that can be looked at by number, ascending: recorded ones and those whose weights are there."""
    return sorted({*store.epochs(run), *epochs_with_weights(run)})


def offered(workspace: Workspace, run: RunDirectory) -> list[Panel]:
    """The panels that have something to show for a run, in their order."""
    names = _offered(str(workspace.root), run.id, stamp(run), len(store.epochs(run)))
    return [PANELS[name] for name in PANELS if name in names]


@lru_cache(maxsize=64)
def _offered(root: str, run_id: str, written: int, recorded: int) -> frozenset[str]:
    workspace = Workspace(root)
    run = workspace.run(run_id)
    if recorded:
        names = set(store.recorded_panels(run))
    else:
        few = chosen(workspace, run, 4)
        try:
            subject = subject_of(workspace, run, BEST, few, _device(workspace))
        except BadInput:  # a run of an earlier version kept its method's parts in the last checkpoint alone
            subject = subject_of(workspace, run, LAST, few, _device(workspace))
        names = {name for name, one in PANELS.items() if one.images and _has(one, subject)}
    if written:
        names |= {PREDICTIONS}  # which runs of earlier versions did not record
        names |= {name for name, one in PANELS.items() if one.compute is not None and not one.images}
        if _spec(run).teacher is None:
            names.discard("disagree")
    return frozenset(names)


def _has(one: Panel, subject: Subject) -> bool:
    """Whether a panel has something to show; only what not every network has is tried."""
    if one.name in ("importance", "method"):
        return one.compute is not None and bool(one.compute(subject))
    return one.kind != "maps" or bool(subject.student.shapes().stages)


def chosen(
    workspace: Workspace, run: RunDirectory, count: int, classes: tuple[str, ...] = (), files: tuple[Path, ...] = ()
) -> Images:
    """Images for a run: files, cut to its size; else validation images, by class where classes are named.

    Raises:
        BadInput: a class that the data do not have, more than 128 images, files that are no images; all of them.
    """
    if not 1 <= count <= MAX_IMAGES:
        raise BadInput(Problem("count", f"found {count} images; at least 1 and at most {MAX_IMAGES} can be shown"))
    if files:
        return _uploaded(str(workspace.root), run.id, files)
    return _shown(str(workspace.root), run.id, count, classes)


@lru_cache(maxsize=16)
def _shown(root: str, run_id: str, count: int, classes: tuple[str, ...]) -> Images:
    workspace = Workspace(root)
    return shown(data_of(workspace, workspace.run(run_id)), count, classes)


@lru_cache(maxsize=8)
def _uploaded(root: str, run_id: str, files: tuple[Path, ...]) -> Images:
    workspace = Workspace(root)
    run = workspace.run(run_id)
    size, ground = data_of(workspace, run).image_size, read_card(run).ground
    if len(files) > MAX_IMAGES:
        raise BadInput(Problem("images", f"found {len(files)} files; at most {MAX_IMAGES} can be shown"))
    pixels, problems = [], []
    for file in files:
        try:
            pixels.append(squared(open_image(file), size, ground))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return Images(np.stack(pixels), np.full(len(pixels), UNKNOWN, np.int64))


def look(workspace: Workspace, run: RunDirectory, what: str, epoch: Epoch = BEST, images: Images | None = None) -> Seen:
    """What a panel shows.

    Args:
        workspace: of the run.
        run: one that has trained.
        what: name of the panel.
        epoch: `BEST`, `LAST`, or one of `epochs`.
        images: by default those that were recorded, and else the same choice; other images, or an epoch that was
            not recorded, need that epoch's weights.

    Raises:
        BadInput: no such panel or epoch, or the panel has nothing to show for this run; says what there is.
    """
    one = panel(what)
    arrays: Arrays = {}
    predicted: Arrays = {}
    if one.compute is None:
        images = store.read_images(run)
        empty = not store.recorded_panels(run)
    else:
        recorded = store.read(run, epoch, what) if images is None and isinstance(epoch, int) else {}
        images = _recorded_images(run, one) if recorded else images
        if images is None:
            images = chosen(workspace, run, one.images or GRAPHED)
        if one.kind == "maps":
            images = images.first(GRAPHED)
        if recorded:
            arrays, predicted = recorded, _recorded_predictions(workspace, run, one, epoch, images)
        else:
            arrays, predicted = _computed(workspace, run, one, epoch, images)
        arrays = one.arrange(arrays)
        empty = not arrays
    if empty:
        names = ", ".join(each.name for each in offered(workspace, run))
        raise BadInput(Problem("what", f"{run.id} has nothing to show under {what}; it has: {names}"))
    spec = _spec(run)
    bundle = data_of(workspace, run)
    return Seen(
        label=f"{spec.student.name}, {spec.method.name} [{short_id(run.id)}]",
        arrays=arrays,
        pixels=images.pixels if images is not None else np.zeros((0, 8, 8, 3), np.uint8),
        labels=images.labels if images is not None else np.zeros(0, np.int64),
        classes=bundle.classes,
        captions=get_method(spec.method.name).captions if what == "method" else {},
        history=history(run, one),
        measure=one.measure,
        epoch=epoch if isinstance(epoch, int) else None,
        predictions=predicted,
    )


def look_beside(workspace: Workspace, other: RunDirectory, what: str, epoch: Epoch, first: Seen) -> Seen:
    """What a second run shows of the same images, at the epoch nearest to the one wanted.

    Raises:
        BadInput: as `look`; or its images are of another size.
    """
    recorded = store.read_images(other)
    nearest: Epoch = epoch
    if isinstance(epoch, int):
        numbers = epochs(other)
        nearest = min(numbers, key=lambda number: abs(number - epoch)) if numbers else BEST
    same = recorded is not None and np.array_equal(recorded.pixels[: len(first.pixels)], first.pixels)
    if same and isinstance(nearest, int) and len(first.pixels) == min(panel(what).images, len(recorded)):  # type: ignore[arg-type]
        return look(workspace, other, what, nearest)
    size = data_of(workspace, other).image_size
    if len(first.pixels) and first.pixels.shape[1] != size:
        message = f"{other.id} was trained on images of {size} px, the first run on {first.pixels.shape[1]} px"
        raise BadInput(Problem("with", message))
    if isinstance(nearest, int) and nearest not in epochs_with_weights(other):
        nearest = BEST
    images = Images(first.pixels, first.labels) if len(first.pixels) else None
    return look(workspace, other, what, nearest, images)


def anchor(workspace: Workspace, run: RunDirectory, what: str, images: Images | None) -> Arrays:
    """The arrays of a panel that do not move with the epoch, to lay out others by: the last ones."""
    recorded = store.epochs(run)
    if images is None and recorded:
        found = store.read(run, recorded[-1], what)
        if found:
            return found
    return look(workspace, run, what, LAST, images).arrays


def history(run: RunDirectory, one: Panel) -> Arrays:
    """The numbers of a panel that are followed over the epochs, each (E,), and "epochs" (E,); {} for none."""
    if not one.followed:
        return {}
    rows: list[tuple[int, Arrays]] = [(epoch, store.read(run, epoch, one.name)) for epoch in store.epochs(run)]
    names = [
        name
        for name, values in (rows[-1][1] if rows else {}).items()
        if values.ndim < 2 and re.search(one.followed, name)
    ]
    if not names:
        return {}
    found = {name: np.asarray([np.mean(arrays.get(name, np.nan)) for _, arrays in rows], np.float64) for name in names}
    return {"epochs": np.asarray([epoch for epoch, _ in rows]), **found}


def _recorded_images(run: RunDirectory, one: Panel) -> Images | None:
    images = store.read_images(run)
    return images.first(one.images) if images is not None else None


def _recorded_predictions(workspace: Workspace, run: RunDirectory, one: Panel, epoch: Epoch, images: Images) -> Arrays:
    """What was predicted for recorded images; {} where nobody knows: a run of an earlier version did not record it."""
    if one.kind not in WITH_PREDICTIONS:
        return {}
    found = store.read(run, int(epoch), PREDICTIONS)
    if not found and epoch in epochs_with_weights(run):
        with suppress(BadInput):  # its teacher may be gone, and what was recorded can be shown all the same
            found = _computed(workspace, run, PANELS[PREDICTIONS], epoch, images)[0]
    return {name: values[: len(images)] for name, values in found.items()}


def _computed(
    workspace: Workspace, run: RunDirectory, one: Panel, epoch: Epoch, images: Images
) -> tuple[Arrays, Arrays]:
    """The arrays of a panel, and what is predicted for these images where the panel shows that."""
    if isinstance(epoch, int) and epoch not in kept_epochs(run):
        if epoch not in epochs_with_weights(run):
            raise BadInput(Problem("epoch", _no_such_epoch(run, one, epoch)))
        epoch = LAST
    device = _device(workspace)
    wanted = [one, *([PANELS[PREDICTIONS]] if one.kind in WITH_PREDICTIONS else [])]
    arrays, *predicted = (arrays_of(workspace, run, each, epoch, images, device) for each in wanted)
    return arrays, predicted[0] if predicted else {}


def _no_such_epoch(run: RunDirectory, one: Panel, epoch: int) -> str:
    weights = ", ".join(map(str, epochs_with_weights(run))) or "none by number"
    recorded = ", ".join(map(str, store.epochs(run))) if one.images else ""
    also = f"; recorded are {recorded}" if recorded else ""
    return f"there are no weights of epoch {epoch} of {run.id} to make {one.name} of; there are best, {weights}{also}"


def _device(workspace: Workspace) -> torch.device:
    """A GPU that no run trains on, else the CPU."""
    return pick_device(beside_training(workspace).device)


@lru_cache(maxsize=64)
def _parsed(spec_yaml: str) -> ExperimentSpec:
    return ExperimentSpec.from_yaml(spec_yaml)


def _spec(run: RunDirectory) -> ExperimentSpec:
    return _parsed(run.spec_text())


def as_epoch(text: str) -> Epoch:
    """ "best", "last" or a number; raises BadInput."""
    if text in (BEST, LAST):
        return text
    if not text.isdigit():
        raise BadInput(Problem("epoch", f"found {text!r}; expected best, last or the number of an epoch"))
    return int(text)
