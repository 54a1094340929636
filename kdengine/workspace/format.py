"""Which format a workspace has, in ``<workspace>/format.json``: a newer one is refused, an older one updated.

The number counts changes of what lies where, and of what is written in files that have no version of their own: status,
events, model cards, cards of imported teachers, plans of comparisons. It is raised, with a step in `STEPS`, when this
version writes what the last one could not read, or reads what the last one did not write.

What has a version of its own besides: an experiment (``version`` in its YAML; a newer one is refused), ``jobs.db``
(SQLite's ``user_version``; columns are added), ``mlflow.db`` and ``studies.db`` (MLflow's and Optuna's own schemas),
checkpoints (``format``; another one is refused), decoded stores and stored teacher logits (the format is part of their
key: what is of another one is made anew). Settings that come later are no change: they have neutral values
(`kdengine.spec.fields.setting`). Nor is a file that may be missing, and that earlier versions leave alone: a run's
``annotations.json`` (``name``, ``tags``, ``notes``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.workspace import files

log = logging.getLogger(__name__)

FILE = "format.json"
PARTS = ("runs", "jobs.db", "mlflow.db", "studies.db", "teachers", "comparisons", "cache")
"""What distinguishes a workspace of before the formats were numbered from any other folder."""


class Step(NamedTuple):
    """From the format before to the next one.

    Attributes:
        what: what it does, for the log.
        apply: does it to the workspace at a path. It may have been killed halfway before: what is done already must be
            left as it is. Raises KdError where it cannot be done now, for instance while a run is under way.
    """

    what: str
    apply: Callable[[Path], None]


def _nothing(root: Path) -> None:
    """What was written before formats were numbered is what format 1 is."""


STEPS: tuple[Step, ...] = (Step("its format is noted down, nothing else changes", _nothing),)
"""Step number n leads from format n to n + 1."""


def current() -> int:
    """The format that this version writes."""
    return len(STEPS)


def found(root: Path) -> int | None:
    """The format of the workspace at a path; 0 for one of before there were numbers, None where there is none yet.

    Raises:
        BadInput: the file does not say.
    """
    place = root / FILE
    if not root.is_dir():
        return None
    try:
        content = files.read_json(place)
    except DamagedFile as error:
        raise BadInput(Problem("KD_HOME", f"{error}. {_advice(place)}")) from error
    if content is None:
        return 0 if any((root / part).exists() for part in PARTS) else None
    number = content.get("format")
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        message = f"{place} is damaged: found the format {number!r}, expected a number"
        raise BadInput(Problem("KD_HOME", f"{message}. {_advice(place)}"))
    return number


def settle(root: Path, *, new: bool = False) -> None:
    """Makes sure that the workspace at a path is of this version's format, before anything in it is used.

    An older one is brought up to date, step by step; each step is noted when it is done, so that one who is killed
    meanwhile is followed by one who goes on. One that cannot be written to is left as it is, for it can be read.

    Args:
        root: of the workspace.
        new: whether it is about to become one, if there is none yet.

    Raises:
        BadInput: it is of a newer format, or says none; nothing was written.
    """
    there = _readable(root)
    if there == current() or (there is None and not new):
        return
    if root.exists() and not os.access(root, os.W_OK):
        log.info("the workspace %s has format %s and cannot be written to; it is read as it is", root, there)
        return
    with files.lock(root / ".format.lock"):
        _bring_up(root)


def _readable(root: Path) -> int | None:
    there = found(root)
    if there is not None and there > current():
        message = f"the workspace {root} has format {there}, this version of kdengine reads up to {current()}; "
        raise BadInput(Problem("KD_HOME", f"{message}update kdengine, or set KD_HOME to another folder"))
    return there


def _bring_up(root: Path) -> None:
    there = _readable(root)
    if there is None:
        _note(root, current())
        return
    for number in range(there, current()):
        step = STEPS[number]
        step.apply(root)
        _note(root, number + 1)
        log.info("the workspace %s was brought from format %d to %d: %s", root, number, number + 1, step.what)


def _note(root: Path, number: int) -> None:
    files.write_json(root / FILE, {"format": number})


def _advice(place: Path) -> str:
    return (
        f"Put back a copy of {place.name}, or delete it: then the workspace is looked through from the first format on"
    )
