"""Data of a run that are opened again: compared with what it was trained on, and refused where they are others."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from kdengine.data import DatasetBundle
from kdengine.data.wording import some
from kdengine.errors import BadInput, DataChanged, Problem
from kdengine.models.stored import read_card
from kdengine.workspace.rundir import ACCEPTS_CHANGED_DATA, RunDirectory

log = logging.getLogger(__name__)

FLAG = "--data-changed"
ACCEPTED = "data_accepted"


def compare(run: RunDirectory, bundle: DatasetBundle, *, accept: bool = False, field: str = "data") -> None:
    """Compares a run's data, as they are now, with the digest that its status holds; says so where it holds none.

    Args:
        run: whose data.
        bundle: its data now.
        accept: whether data that changed are accepted; noted with the run, for these data and all who open them later.
        field: what problems stand under.

    Raises:
        BadInput: they changed since the run was trained and that was not accepted (`DataChanged`), or their number of
            classes did.
    """
    status = run.status()
    before = status.get("data")
    before = before if isinstance(before, dict) else {}
    names = _classes(run)
    count = len(names) if names else before.get("classes", len(bundle.classes))
    if count != len(bundle.classes):
        message = f"{_difference(run, before, names, bundle)}; the network cannot be used on another number of classes"
        raise BadInput(Problem(field, f"{message}, so put the data back as they were, or train anew"))
    if not before.get("digest"):
        if before or names:
            _say_once(f"{run.id} comes from an earlier version and holds no digest of its data: not compared")
        return
    if before["digest"] == bundle.digest:
        if status.get(ACCEPTS_CHANGED_DATA):
            run.update_status(**{ACCEPTS_CHANGED_DATA: None})  # the word was for a change that is undone
        return
    difference = _difference(run, before, names, bundle)
    if (accept or status.get(ACCEPTS_CHANGED_DATA)) and status.get(ACCEPTED) != bundle.digest:
        run.update_status(**{ACCEPTED: bundle.digest, ACCEPTS_CHANGED_DATA: None})
    elif status.get(ACCEPTED) != bundle.digest:
        message = (
            f"{difference}; images may have moved between training and test. Put the data back as they were, "
            f"or accept them: kd eval {run.id} {FLAG} accept"
        )
        raise DataChanged(Problem(field, message))
    _say_once(f"{difference}; that was accepted")


def _classes(run: RunDirectory) -> tuple[str, ...]:
    """Of the run's network; () before it has a card."""
    return read_card(run).classes if run.card_file.is_file() else ()


def _difference(run: RunDirectory, before: dict[str, Any], names: tuple[str, ...], bundle: DatasetBundle) -> str:
    now = {"train": len(bundle.train), "validation": len(bundle.validation), "test": len(bundle.test)}
    then = _counted(before, len(names) or before.get("classes", "?"))
    text = f"the data of {run.id} changed since it was trained: {then} then, {_counted(now, len(bundle.classes))} now"
    if names:
        came, went = sorted(set(bundle.classes) - set(names)), sorted(set(names) - set(bundle.classes))
        text += f"; classes that came: {some(came)}" if came else ""
        text += f"; classes that went: {some(went)}" if went else ""
    return text


def _counted(sizes: dict[str, Any], classes: object) -> str:
    parts = {name: sizes.get(name) for name in ("train", "validation", "test")}
    whole = sum(value for value in parts.values() if isinstance(value, int))
    return f"{whole} images ({', '.join(f'{value} {name}' for name, value in parts.items())}) in {classes} classes"


@cache
def _say_once(text: str) -> None:
    log.warning("%s", text)
