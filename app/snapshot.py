"""What lists show of a run's experiment, read once: its seed, and the name of its data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from kdengine.errors import DamagedFile
from kdengine.workspace.rundir import RunDirectory

OWN_DATA = "folder"
# As `ExperimentSpec.to_yaml` writes it. To parse a thousand experiments for one number takes half a second.
_SEED = re.compile(r"^seed: (\d+)$", re.MULTILINE)


class Snapshot(NamedTuple):
    """Seed (None for a spec without one, or that cannot be read), and what the data are called ("" if unknown)."""

    seed: int | None
    data: str


def read_snapshot(run: RunDirectory, dataset: str) -> Snapshot:
    """Reads it from the run's spec.

    Args:
        run: the run.
        dataset: the registered name of its data; one's own images are "folder", and called as their folder or archive.
    """
    try:
        found = _SEED.search(run.spec_text())
    except (FileNotFoundError, DamagedFile):
        return Snapshot(None, dataset)
    seed = int(found.group(1)) if found else None
    return Snapshot(seed, data_name(run.spec_or_nothing()) if dataset == OWN_DATA else dataset)


def data_name(spec: dict[str, Any]) -> str:
    """What a person calls the data of an experiment: one's own images by their folder or archive."""
    data = spec.get("data")
    if not isinstance(data, dict):
        return str(data or "")
    path = data.get("path")
    own = data.get("name") == OWN_DATA and isinstance(path, str) and path
    return Path(str(path)).name if own else str(data.get("name") or "")
