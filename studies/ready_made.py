"""Ready studies: small enough for the embedded digits on a CPU, with the ranges that the field uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kdengine.errors import BadInput, Problem

FOLDER = Path(__file__).parent / "ready"


def names() -> list[str]:
    """Of all ready studies."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load(name: str) -> dict[str, Any]:
    """A mapping for `studies.plan.read`; raises BadInput when there is none of that name."""
    if name not in names():
        raise BadInput(Problem("--ready", f"there is no ready study {name!r}; there are: {', '.join(names())}"))
    mapping: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return mapping
