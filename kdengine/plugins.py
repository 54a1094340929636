"""Entries of other packages: each is loaded by itself, and one that fails is kept with its error and hurts nobody else.

``KD_PLUGINS=off`` leaves them all out, here and in every process that is started.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from kdengine.errors import BadInput, Problem

VARIABLE = "KD_PLUGINS"
OWN_PACKAGE = "kdengine"
COMMANDS = "kdengine.commands"


class Failure(NamedTuple):
    """A plug-in that could not be loaded: name of its entry, its package with version, and why, in one line."""

    name: str
    package: str
    error: str

    def __str__(self) -> str:
        return f"the plug-in {self.name!r} of {self.package} could not be loaded: {self.error}"


def switched_off() -> bool:
    """Whether ``KD_PLUGINS`` leaves out what other packages add; raises BadInput when it says neither on nor off."""
    found = os.environ.get(VARIABLE, "").strip().lower()
    if found not in ("", "on", "off"):
        raise BadInput(Problem(VARIABLE, f"found {found!r}, expected on or off"))
    return found == "off"


def points(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name; of this package alone where plug-ins are switched off."""
    off = switched_off()
    found = [point for point in entry_points(group=group) if not off or _package(point) == OWN_PACKAGE]
    return sorted(found, key=lambda point: (point.name, point.value))


def load(point: EntryPoint, undo: Callable[[], None] = lambda: None) -> Any | Failure:
    """What an entry point names, or the Failure; ``undo`` takes back what a failing one did."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        undo()
        said = " ".join(str(error).split())
        version = f" {point.dist.version}" if point.dist else ""
        return Failure(point.name, f"{_package(point)}{version}", f"{type(error).__name__}: {said}".rstrip(": "))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
