"""For the Runs page: exported files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdengine.workspace import Workspace


def export(workspace: Workspace, run_id: str, folder: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Writes the student of a run as files into a new folder; what was measured of each."""
    from kdengine.export import Request
    from kdengine.export import export as write

    return write(workspace.existing_run(run_id), workspace, Path(folder), Request(**wanted)).to_json()
