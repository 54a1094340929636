"""For the panel "Own teacher" of the Launch page: weights are imported, and tested on the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdengine.errors import BadInput, Problem
from kdengine.teachers import records
from kdengine.workspace import Workspace


def import_teacher(workspace: Workspace, request: dict[str, Any]) -> dict[str, Any]:
    """Keeps uploaded or published weights as a teacher; its name, and what was done for it in words.

    Args:
        workspace: where it is kept.
        request: ``name``, ``model``, ``path`` of a safetensors file (None: published weights), ``image_size``, and as
            text, which may be empty, ``classes`` (one a line), ``mean`` and ``std``.
    """
    from kdengine.teachers import weights
    from kdengine.teachers.published import fetch
    from kdengine.teachers.records import read_normalisation

    normalisation = read_normalisation(request["mean"], request["std"])
    classes = [line.strip() for line in request["classes"].splitlines() if line.strip()] or None
    if not request["model"]:
        raise BadInput(Problem("model", "name the architecture of the weights, e.g. timm/resnet18 or resnet8x4"))
    if not request["path"]:
        found = fetch(request["model"], workspace.cache / "published")
        mean, std = normalisation or (found.mean, found.std)
        incoming = weights.Incoming(
            name=request["name"], model=found.model, options={}, image_size=found.image_size, mean=mean, std=std,
            classes=classes or found.classes, source=found.source,
        )  # fmt: skip
        imported = weights.bring_in(workspace, incoming, found.state)
        return {"name": imported.name, "lines": list(imported.notes)}
    path = Path(request["path"])
    mean, std = normalisation or weights.IMAGENET
    incoming = weights.Incoming(
        name=request["name"], model=request["model"], options={}, image_size=request["image_size"], mean=mean, std=std,
        classes=classes, source=path.name,
    )  # fmt: skip
    imported = weights.bring_in(workspace, incoming, path)
    lines = [] if normalisation else ["no mean and std were given: using those of ImageNet"]
    return {"name": imported.name, "lines": [*imported.notes, *lines]}


def check_teacher(workspace: Workspace, name: str, data: dict[str, Any], correct: bool) -> dict[str, Any]:
    """How an imported teacher does on a data set, in words, and whether it can be corrected; corrects it on request."""
    from kdengine.assembly import load_data
    from kdengine.registry import DATASETS
    from kdengine.spec import ExperimentSpec
    from kdengine.teachers import check

    imported = records.find(workspace, name, "name")
    sized = data | {"image_size": imported.image_size}
    spec = ExperimentSpec.from_mapping({"data": sized, "method": "none", "student": "resnet20"})
    if not DATASETS.get(spec.data.name).present(spec.data.params, workspace.datasets):
        return {"lines": [f"not checked: {spec.data.name} has not been downloaded yet"], "fixable": False}
    bundle = load_data(spec, workspace)
    found = check.check(imported, bundle)
    if correct:
        stored = check.repair(workspace, imported, bundle, found)
        return {"lines": [f"stored: {', '.join(stored.notes) or 'the class names of the data'}"], "fixable": False}
    check.remember(imported, found)
    return {"lines": list(found.lines), "fixable": found.knows and (found.repairable or not found.names)}
