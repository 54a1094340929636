"""What a person has set for a workspace's queue on a page or in a shell; it holds for the supervisor at work too."""

from __future__ import annotations

from typing import Any

from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.workspace import Workspace, files

MAX_PER_GPU = 16


def jobs_per_gpu(workspace: Workspace) -> int | None:
    """How many jobs a GPU takes at once; None where nobody has set it, and ``KD_JOBS_PER_GPU`` counts."""
    found = _read(workspace).get("jobs_per_gpu")
    return found if isinstance(found, int) and 1 <= found <= MAX_PER_GPU else None


def set_jobs_per_gpu(workspace: Workspace, jobs: int | None) -> None:
    """Sets it; None: as the environment says. Raises BadInput for what is no number from 1 to 16."""
    if jobs is not None and not (isinstance(jobs, int) and 1 <= jobs <= MAX_PER_GPU):
        problem = f"found {jobs!r}, expected a whole number from 1 to {MAX_PER_GPU}"
        raise BadInput(Problem("jobs_per_gpu", problem))
    with files.lock(workspace.root / ".settings.lock"):
        files.write_json(workspace.root / "settings.json", _read(workspace) | {"jobs_per_gpu": jobs})


def _read(workspace: Workspace) -> dict[str, Any]:
    try:
        found = files.read_json(workspace.root / "settings.json", {})
    except DamagedFile:
        return {}  # the next change writes it anew; until then the environment counts
    return found if isinstance(found, dict) else {}
