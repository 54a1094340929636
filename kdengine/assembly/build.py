"""From a spec to the networks and the method that it names."""

from __future__ import annotations

import torch

from kdengine.errors import BadInput, Problem
from kdengine.jobs.placement import as_placed, why_no_gpu
from kdengine.methods.base import Context, Method, Needs
from kdengine.models.backbone import Backbone, build_model
from kdengine.models.stored import load_student, read_tensors
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec, ModelSpec
from kdengine.training.hardware import pick_device, seed_everything
from kdengine.workspace.rundir import RunDirectory


def needs(spec: ExperimentSpec) -> Needs:
    """What the spec's method requires."""
    found: Needs = METHODS.get(spec.method.name).requires(spec.method.params)
    return found


def build_backbone(model: ModelSpec, classes: int, image_size: int) -> Backbone:
    """A freshly initialised network of that spec."""
    return build_model(model.name, classes, image_size, **model.params.model_dump())


def build_method(
    spec: ExperimentSpec, classes: int, samples: int, student: Backbone, teacher: Backbone | None
) -> Method:
    """The spec's method for these networks."""
    context = Context(
        classes=classes,
        samples=samples,
        student=student.shapes(),
        teacher=teacher.shapes() if teacher is not None else None,
        label_smoothing=spec.recipe.label_smoothing,
        epochs=spec.recipe.epochs,
    )
    found: Method = METHODS.get(spec.method.name).build(spec.method.params, context)
    return found


def load_with_exits(run: RunDirectory) -> tuple[Backbone, Method]:
    """The student of a run, best by validation, and its method with the heads of that epoch, both in eval mode.

    Raises:
        BadInput: no weights yet, or the method has no exits.
    """
    student, card = load_student(run)
    spec = ExperimentSpec.from_yaml(run.spec_text())
    if not has_exits(spec, len(card.classes)):
        message = f"the run {run.id} ({spec.method.name}) has no exits beside the deployed one"
        raise BadInput(Problem("run", message + "; self-distillation methods such as byot or light_self have"))
    samples = run.status()["data"]["train"]
    method = build_method(spec, len(card.classes), samples, student, None)
    method.load_state_dict(read_tensors(run.method_file), strict=False)
    return student, method.eval()


def has_exits(spec: ExperimentSpec, classes: int) -> bool:
    """Whether the spec's method adds heads that predict on their own; those that need a teacher never do."""
    if needs(spec).teacher:
        return False
    student = build_backbone(spec.student, classes, spec.data.image_size)
    return bool(build_method(spec, classes, 1, student, None).exits())


def device_of(spec: ExperimentSpec) -> torch.device:
    """The device that a spec names, as this process sees it; raises BadInput, which says why no GPU is seen."""
    named = spec.runtime.device
    try:
        return pick_device(as_placed(named))
    except BadInput as error:
        why = why_no_gpu(named)
        raise BadInput([*error.problems, Problem("runtime.device", why)]) if why else error from None


def seeded_student(spec: ExperimentSpec, classes: int) -> Backbone:
    """The student with the initial weights of the spec's seed: the same for every method."""
    seed_everything(spec.seed)
    return build_backbone(spec.student, classes, spec.data.image_size)
