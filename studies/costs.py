"""What a student costs before it is trained: it decides whether a trial is worth training at all."""

from __future__ import annotations

import json
from pathlib import Path

from kdengine.errors import DamagedFile
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace, files

FILE = "costs.json"


def cost_of(spec: ExperimentSpec, workspace: Workspace, folder: Path) -> dict[str, float]:
    """Parameters, multiply-accumulates, and latency (ms, one image, one thread of the CPU) of a student.

    Measured once for each student and kept in the study's folder, so that trials of one student share one latency.
    """
    data = spec.data
    key = json.dumps([spec.student.model_dump(mode="json"), data.name, data.image_size], sort_keys=True)
    known = _known(folder)
    if key not in known:
        known[key] = _measure(spec, workspace)
        files.write_json(folder / FILE, known)
    return known[key]


def _known(folder: Path) -> dict[str, dict[str, float]]:
    """What was measured before; a damaged file is measured and written anew."""
    try:
        found: dict[str, dict[str, float]] = files.read_json(folder / FILE, {})
    except DamagedFile:
        return {}
    return found


def _measure(spec: ExperimentSpec, workspace: Workspace) -> dict[str, float]:
    from kdengine import assembly
    from kdengine.evaluation import cost

    classes = len(assembly.load_data(spec, workspace).classes)
    backbone = assembly.build_backbone(spec.student, classes, spec.data.image_size)
    size = cost.count(backbone)
    seconds = cost.one_thread_latency(backbone)
    return {"parameters": size.parameters, "macs": size.macs, "latency_ms": round(1000 * seconds, 3)}
