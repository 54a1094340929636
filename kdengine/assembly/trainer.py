"""From networks and batches to the loop that trains them: the one place that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from kdengine.assembly.build import build_method
from kdengine.methods.base import BatchLike
from kdengine.models.backbone import Backbone
from kdengine.spec import ExperimentSpec
from kdengine.training.cached_logits import CachedTeacher
from kdengine.training.hardware import seed_everything
from kdengine.training.loop import Batches, Trainer
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace.rundir import RunDirectory


def in_layout(spec: ExperimentSpec, student: Backbone, device: torch.device) -> Backbone:
    """The student on the device, its weights in the memory layout that the spec names."""
    layout = torch.channels_last if spec.runtime.in_channels_last else torch.contiguous_format
    return student.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def no_validation() -> Iterator[BatchLike]:
    """For steps that are taken one by one, and measured."""
    return iter(())


def assemble_trainer(
    spec: ExperimentSpec,
    student: Backbone,
    teacher: FrozenTeacher | CachedTeacher | None,
    train: Batches,
    *,
    classes: int,
    samples: int,
    run: RunDirectory,
    device: torch.device,
    reduced: torch.dtype | None,
    validation: Callable[[], Iterator[BatchLike]] = no_validation,
    meta: Batches | None = None,
    **hooks: Callable[[], Any],
) -> Trainer:
    """The loop of a spec, with the method that it names.

    Args:
        spec: recipe, runtime and method are read.
        student: on the device, `in_layout`.
        teacher: None for a method that needs none.
        train: augmented training batches.
        classes, samples: of the train part.
        run: where the loop writes; single steps write nothing.
        reduced: what forward passes compute in under autocast; None = float32.
        hooks: ``stop``, ``on_stop`` and ``on_checkpoint`` of `Trainer`.
    """
    method = build_method(spec, classes, samples, student, teacher.backbone if teacher is not None else None)
    method.to(device)
    # Dropout and the like draw the same numbers whatever parts the method has.
    seed_everything(spec.seed + 1)
    return Trainer(
        spec=spec,
        student=student,
        method=method,
        teacher=teacher,
        train=train,
        validation=validation,
        run=run,
        device=device,
        meta=meta,
        reduced=reduced,
        **hooks,
    )
