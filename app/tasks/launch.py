"""For the Launch page: samples of data, checks, forecasts, and the launch itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kdengine.workspace import Workspace

SAMPLES = 12


def samples(workspace: Workspace, data: dict[str, Any]) -> dict[str, Any]:
    """Facts and a few images of a data set (a mapping as in a spec); nothing is downloaded for it."""
    from kdengine.assembly import load_data
    from kdengine.data import sample_images
    from kdengine.figures.images import data_url
    from kdengine.registry import DATASETS
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_mapping({"data": data, "method": "none", "student": "resnet20"})
    definition = DATASETS.get(spec.data.name)
    if not definition.present(spec.data.params, workspace.datasets):
        return {"present": False, "summary": definition.summary, "classes": definition.class_count}
    bundle = load_data(spec, workspace)
    images, labels = sample_images(bundle, SAMPLES)
    return {
        "present": True,
        "summary": definition.summary,
        "classes": len(bundle.classes),
        "train": len(bundle.train),
        "validation": len(bundle.validation),
        "test": len(bundle.test),
        "images": [(data_url(pixels), bundle.classes[label]) for pixels, label in zip(images, labels, strict=True)],
    }


def check(workspace: Workspace, spec_yaml: str) -> None:
    """Everything that can be wrong with a spec short of downloading its data; BadInput names it all."""
    from kdengine.assembly import preflight
    from kdengine.registry import DATASETS
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_yaml(spec_yaml)
    if DATASETS.get(spec.data.name).present(spec.data.params, workspace.datasets):
        preflight(spec, workspace)


def forecast(workspace: Workspace, spec_yaml: str) -> dict[str, Any]:
    """What the run will cost, from a short measurement; ``beside`` says where that was not made on its device."""
    from kdengine.forecast import forecast as measure
    from kdengine.forecast import known_compiling
    from kdengine.jobs.beside import beside_training
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_yaml(spec_yaml)
    place = beside_training(workspace, spec.runtime.device)
    costs = asdict(measure(spec, workspace, place.device)) | {"beside": place.why}
    known = known_compiling(spec, workspace, place.device)
    return costs | {"compiling": None if known is None else asdict(known) | {"saved_s": known.saved_s}}


def method_costs(workspace: Workspace, experiment: dict[str, Any], teacher: str) -> dict[str, dict[str, Any]]:
    """What each method computes beside plain training, for these networks, as `kdengine.forecast.operations` counts."""
    from kdengine.forecast.operations import relative_costs

    return {name: found._asdict() for name, found in relative_costs(experiment, teacher, workspace).items()}


def compiling(workspace: Workspace, spec_yaml: str) -> dict[str, Any]:
    """What torch.compile gains and costs, measured; takes as long as compiling does."""
    from kdengine.forecast import try_compiling as measure
    from kdengine.jobs.beside import beside_training
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_yaml(spec_yaml)
    found = measure(spec, workspace, beside_training(workspace, spec.runtime.device).device)
    return asdict(found) | {"saved_s": found.saved_s}


def launch(workspace: Workspace, spec_yamls: list[str], token: str) -> list[str]:
    """Queues the experiments; returns the ids of their students' jobs. The same token twice queues once."""
    from kdengine.assembly.launch import launch_all
    from kdengine.jobs import ensure_supervisor
    from kdengine.spec import ExperimentSpec

    ensure_supervisor(workspace)
    jobs = launch_all([ExperimentSpec.from_yaml(text) for text in spec_yamls], workspace, token=token)
    return [job.id for job in jobs if job.token]
