"""A run, a panel, an epoch, some pictures -> what there is to draw: read where it was recorded, else computed now."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kdengine.errors import BadInput, Problem
from kdengine.evaluation.classifier import open_picture, squared
from kdengine.figures.seen import Seen
from kdengine.inspection import store
from kdengine.inspection.choice import shown
from kdengine.inspection.opening import BEST, LAST, Epoch, data_of, epochs_with_weights, kept_epochs, open_subject
from kdengine.inspection.panels import GRAPHED, MAPS, PANELS, Panel, panel
from kdengine.inspection.subject import UNKNOWN, Arrays, Pictures, Subject
from kdengine.jobs.beside import beside_training
from kdengine.methods import get_method
from kdengine.rundir import RunDirectory, short_id
from kdengine.spec import ExperimentSpec
from kdengine.training.hardware import pick_device
from kdengine.workspace import Workspace

MOST_PICTURES = 128


def epochs(run: RunDirectory) -> list[int]:
    """Epochs that can be looked at by number, ascending: recorded ones and those whose weights are there."""
    return sorted({*store.epochs(run), *epochs_with_weights(run)})


def offered(workspace: Workspace, run: RunDirectory) -> list[Panel]:
    """The panels that have something to show for a run, in their order."""
    names = _offered(str(workspace.root), run.id, _stamp(run), len(store.epochs(run)))
    return [PANELS[name] for name in PANELS if name in names]


@lru_cache(maxsize=64)
def _offered(root: str, run_id: str, stamp: int, recorded: int) -> frozenset[str]:
    workspace = Workspace(root)
    run = workspace.run(run_id)
    if recorded:
        names = set(store.recorded_panels(run))
    else:
        few = chosen(workspace, run, 4)
        try:
            subject = _subject(root, run_id, BEST, stamp, few, _device(workspace))
        except BadInput:  # a run of an earlier version kept its method's parts in the last checkpoint alone
            subject = _subject(root, run_id, LAST, stamp, few, _device(workspace))
        names = {name for name, one in PANELS.items() if one.pictures and _has(one, subject)}
    if stamp:
        names |= {name for name, one in PANELS.items() if one.compute is not None and not one.pictures}
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
) -> Pictures:
    """Pictures for a run: files, cut to its size; else validation pictures, by class where classes are named.

    Raises:
        BadInput: a class that the data do not have, more than 128 pictures, files that are no pictures; all of them.
    """
    if not 1 <= count <= MOST_PICTURES:
        raise BadInput(Problem("count", f"found {count} pictures; at least 1 and at most {MOST_PICTURES} can be shown"))
    if files:
        return _uploaded(str(workspace.root), run.id, files)
    return _shown(str(workspace.root), run.id, count, classes)


@lru_cache(maxsize=16)
def _shown(root: str, run_id: str, count: int, classes: tuple[str, ...]) -> Pictures:
    workspace = Workspace(root)
    return shown(data_of(workspace, workspace.run(run_id)), count, classes)


@lru_cache(maxsize=8)
def _uploaded(root: str, run_id: str, files: tuple[Path, ...]) -> Pictures:
    workspace = Workspace(root)
    size = data_of(workspace, workspace.run(run_id)).image_size
    if len(files) > MOST_PICTURES:
        raise BadInput(Problem("pictures", f"found {len(files)} files; at most {MOST_PICTURES} can be shown"))
    pixels, problems = [], []
    for file in files:
        try:
            pixels.append(squared(open_picture(file), size))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return Pictures(np.stack(pixels), np.full(len(pixels), UNKNOWN, np.int64))


def look(
    workspace: Workspace, run: RunDirectory, what: str, epoch: Epoch = BEST, pictures: Pictures | None = None
) -> Seen:
    """What a panel shows.

    Args:
        workspace: of the run.
        run: one that has trained.
        what: name of the panel.
        epoch: `BEST`, `LAST`, or one of `epochs`.
        pictures: by default those that were recorded, and else the same choice; other pictures, or an epoch that was
            not recorded, need that epoch's weights.

    Raises:
        BadInput: no such panel or epoch, or the panel has nothing to show for this run; says what there is.
    """
    one = panel(what)
    if one.compute is None:
        arrays: Arrays = {}
        pictures = store.read_pictures(run)
        empty = not store.recorded_panels(run)
    else:
        recorded = store.read(run, epoch, what) if pictures is None and isinstance(epoch, int) else {}
        pictures = _recorded_pictures(run, one) if recorded else pictures
        if pictures is None:
            pictures = chosen(workspace, run, one.pictures or GRAPHED)
        arrays = recorded or _computed(workspace, run, one, epoch, pictures)
        empty = not arrays
    if empty:
        names = ", ".join(each.name for each in offered(workspace, run))
        raise BadInput(Problem("what", f"{run.id} has nothing to show under {what}; it has: {names}"))
    spec = _spec(run)
    bundle = data_of(workspace, run)
    return Seen(
        label=f"{spec.student.name}, {spec.method.name} [{short_id(run.id)}]",
        arrays=arrays,
        pixels=pictures.pixels if pictures is not None else np.zeros((0, 8, 8, 3), np.uint8),
        labels=pictures.labels if pictures is not None else np.zeros(0, np.int64),
        classes=bundle.classes,
        captions=get_method(spec.method.name).captions if what == "method" else {},
        history=history(run, one),
        measure=one.measure,
        epoch=epoch if isinstance(epoch, int) else None,
    )


def look_beside(workspace: Workspace, other: RunDirectory, what: str, epoch: Epoch, first: Seen) -> Seen:
    """What a second run shows of the same pictures, at the epoch nearest to the one wanted.

    Raises:
        BadInput: as `look`; or its pictures are of another size.
    """
    recorded = store.read_pictures(other)
    nearest: Epoch = epoch
    if isinstance(epoch, int):
        numbers = epochs(other)
        nearest = min(numbers, key=lambda number: abs(number - epoch)) if numbers else BEST
    same = recorded is not None and np.array_equal(recorded.pixels[: len(first.pixels)], first.pixels)
    if same and isinstance(nearest, int) and len(first.pixels) == min(panel(what).pictures, len(recorded)):  # type: ignore[arg-type]
        return look(workspace, other, what, nearest)
    size = data_of(workspace, other).image_size
    if len(first.pixels) and first.pixels.shape[1] != size:
        message = f"{other.id} was trained on pictures of {size} px, the first run on {first.pixels.shape[1]} px"
        raise BadInput(Problem("with", message))
    if isinstance(nearest, int) and nearest not in epochs_with_weights(other):
        nearest = BEST
    pictures = Pictures(first.pixels, first.labels) if len(first.pixels) else None
    return look(workspace, other, what, nearest, pictures)


def anchor(workspace: Workspace, run: RunDirectory, what: str, pictures: Pictures | None) -> Arrays:
    """The arrays of a panel that do not move with the epoch, to lay out others by: the last ones."""
    recorded = store.epochs(run)
    if pictures is None and recorded:
        found = store.read(run, recorded[-1], what)
        if found:
            return found
    return look(workspace, run, what, LAST, pictures).arrays


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


def _recorded_pictures(run: RunDirectory, one: Panel) -> Pictures | None:
    pictures = store.read_pictures(run)
    return pictures.first(one.pictures) if pictures is not None else None


def _computed(workspace: Workspace, run: RunDirectory, one: Panel, epoch: Epoch, pictures: Pictures) -> Arrays:
    assert one.compute is not None
    if isinstance(epoch, int) and epoch not in kept_epochs(run):
        if epoch not in epochs_with_weights(run):
            raise BadInput(Problem("epoch", _no_such_epoch(run, one, epoch)))
        epoch = LAST
    if one.kind == "maps":
        pictures = pictures.first(MAPS)
    return one.compute(_subject(str(workspace.root), run.id, epoch, _stamp(run), pictures, _device(workspace)))


def _stamp(run: RunDirectory) -> int:
    """Another number for every writing of the best weights; 0 before the first."""
    return run.student_file.stat().st_mtime_ns if run.student_file.is_file() else 0


def _no_such_epoch(run: RunDirectory, one: Panel, epoch: int) -> str:
    weights = ", ".join(map(str, epochs_with_weights(run))) or "none by number"
    recorded = ", ".join(map(str, store.epochs(run))) if one.pictures else ""
    told = f"; recorded are {recorded}" if recorded else ""
    return f"there are no weights of epoch {epoch} of {run.id} to make {one.name} of; there are best, {weights}{told}"


def _device(workspace: Workspace) -> torch.device:
    """A GPU that no run trains on, else the CPU."""
    return pick_device(beside_training(workspace).device)


@lru_cache(maxsize=6)
def _subject(root: str, run_id: str, epoch: Epoch, stamp: int, pictures: Pictures, device: torch.device) -> Subject:
    """Kept for the next panel; ``stamp`` makes a run that has trained on a new entry."""
    workspace = Workspace(root)
    return open_subject(workspace, workspace.run(run_id), epoch, pictures, device)


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
