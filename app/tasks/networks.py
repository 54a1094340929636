"""For the fields that take a network: names that contain what was typed, and what each costs."""

from __future__ import annotations

from typing import Any

from kdengine.workspace import Workspace

SHOWN = 40


def find_networks(workspace: Workspace, query: str) -> dict[str, Any]:
    """The first names that contain every word, and how many there are."""
    from kdengine.evaluation import networks
    from kdengine.registry import MODELS

    found = networks.find(query)
    summaries = {name: MODELS.get(name).summary for name in found[:SHOWN] if "/" not in name}
    return {"count": len(found), "names": found[:SHOWN], "summaries": summaries}


def network_costs(workspace: Workspace, names: list[str], image_size: int) -> dict[str, tuple[int, int] | None]:
    """Parameters and multiply-accumulates of one image of each; None for one that cannot be had at that size."""
    from kdengine.evaluation import networks

    costs = {name: networks.cost(name, 10, image_size) for name in names}
    return {name: (found.parameters, found.macs) if found else None for name, found in costs.items()}
