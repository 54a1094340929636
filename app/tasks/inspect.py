"""For the Inspect page: which views there are of a run, and what a view shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdengine.workspace import Workspace


def what_to_inspect(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """What can be shown of a run: epochs (all, and those with weights), views (all, recorded ones), groups, classes.

    ``groups``: the names of the views by the group they stand in.
    """
    from kdengine.inspection import looking, opening
    from kdengine.inspection import recordings as store

    run = workspace.existing_run(run_id)
    panels = looking.offered(workspace, run)
    groups: dict[str, list[str]] = {}
    for panel in panels:
        groups.setdefault(panel.group, []).append(panel.name)
    return {
        "epochs": looking.epochs(run),
        "recorded": sorted(store.recorded_panels(run)),
        "weights": opening.epochs_with_weights(run),
        "views": [(panel.title, panel.name) for panel in panels],
        "groups": groups,
        "classes": list(opening.data_of(workspace, run).classes),
    }


def inspect(workspace: Workspace, request: dict[str, Any]) -> dict[str, Any]:
    """What a view of one run, or of two, shows.

    Args:
        workspace: of the runs.
        request: ``run``, ``with`` (or None), ``what``, ``epoch``, and for other images than the recorded ones
            ``classes`` and ``count``, or ``files``.

    Returns:
        ``seen``: one or two `kdengine.figures.seen.Seen`; ``anchor``: arrays to lay out by; ``kind``, ``title``,
        ``sentence`` of the view; ``beside``: why what was not recorded is computed on the CPU, "" where it is not.
    """
    from kdengine.inspection import looking
    from kdengine.inspection.panels import panel
    from kdengine.jobs.beside import beside_training

    run, one = workspace.existing_run(request["run"]), panel(request["what"])
    images = None
    if request.get("files") or request.get("count"):
        files = tuple(Path(file) for file in request.get("files") or ())
        images = looking.chosen(workspace, run, request.get("count") or 1, tuple(request.get("classes") or ()), files)
    first = looking.look(workspace, run, one.name, request["epoch"], images)
    seen = [first]
    if request.get("with"):
        other = workspace.existing_run(request["with"])
        seen.append(looking.look_beside(workspace, other, one.name, request["epoch"], first))
    laid_out = one.kind in ("graph", "plane")
    return {
        "seen": seen,
        "anchor": looking.anchor(workspace, run, one.name, images) if laid_out else {},
        "kind": one.kind,
        "title": one.title,
        "sentence": one.sentence,
        "beside": beside_training(workspace).why,
    }
