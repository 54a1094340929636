"""Whose packages ``app`` and ``studies`` are: this program's, whatever the working folder or PYTHONPATH holds."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
COMMON_NAMES = ("app", "studies")


def keep_ours_first() -> None:
    """Moves what would shadow our packages to the end of ``sys.path``, behind the folder that holds them.

    ``sys.path`` itself is changed, not what was imported, since the processes of a pool are given it too.
    """
    behind = [entry for entry in sys.path if entry != ROOT and _holds_a_namesake(entry)]
    rest = [entry for entry in sys.path if entry not in behind]
    sys.path[:] = [*rest, *([] if ROOT in rest else [ROOT]), *behind]


def leave_working_folder() -> None:
    """For ``python -m``, which puts the working folder first: to the end with it, unless it holds this program."""
    if not sys.flags.safe_path and sys.path[0] != ROOT:
        sys.path.append(sys.path.pop(0))


def _holds_a_namesake(entry: str) -> bool:
    # A folder without __init__.py has no origin; it counts only where no package of that name is found at all.
    found = (PathFinder.find_spec(name, [entry]) for name in COMMON_NAMES)
    return any(spec is not None and spec.origin is not None for spec in found)
