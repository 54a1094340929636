"""How a message lists things of which there may be thousands."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 10


def some(names: Sequence[str]) -> str:
    """The first ten, with commas, and an ellipsis when there are more."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
