"""A run, an epoch and some images -> the networks as they were, ready to be looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from kdengine import assembly
from kdengine.assembly import changed_data
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, Problem
from kdengine.inspection.choice import statistics
from kdengine.inspection.subject import Images, Subject
from kdengine.models.backbone import Backbone
from kdengine.models.stored import load_network, load_student, read_card, read_tensors
from kdengine.spec import ExperimentSpec
from kdengine.teachers import records
from kdengine.training import checkpoint
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

BEST, LAST = "best", "last"
KEPT_FILE = re.compile(r"epoch-(\d{4,})\.safetensors")

Epoch = str | int
"""`BEST`, `LAST`, or the number of an epoch whose weights were kept (``runtime.keep_epochs``)."""


def kept_epochs(run: RunDirectory) -> list[int]:
    """Epochs whose weights lie beside best and last, ascending."""
    names = [KEPT_FILE.fullmatch(file.name) for file in run.checkpoints.glob("epoch-*")]
    return sorted(int(name.group(1)) for name in names if name)


def epochs_with_weights(run: RunDirectory) -> list[int]:
    """Epochs that any image can be shown at: kept ones, and the last that was trained."""
    last = int((run.status().get("progress") or {}).get("epoch") or 0)
    return sorted({*kept_epochs(run), *([last] if run.last_student_file.is_file() and last else [])})


def open_subject(
    workspace: Workspace, run: RunDirectory, epoch: Epoch, images: Images, device: torch.device
) -> Subject:
    """Student, method and teacher of a run as they were, in eval mode, before these images, on that device.

    Raises:
        BadInput: no weights of that epoch, or those of the teacher or of the method's own parts are gone; in words.
    """
    spec = ExperimentSpec.from_yaml(run.spec_text())
    bundle = data_of(workspace, run)
    student = _student(run, epoch).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    source = _teacher_source(workspace, run, spec)
    teacher: FrozenTeacher | None = None
    if source is not None:
        teacher = assembly.freeze_teacher(source, bundle, device, channels_last=True)
    plain = assembly.build_backbone(spec.student, len(bundle.classes), spec.data.image_size)
    its_teacher = teacher.backbone if teacher is not None else None
    method = assembly.build_method(spec, len(bundle.classes), len(bundle.train), plain, its_teacher)
    if its_teacher is not None:
        method.copy_from_teacher(its_teacher)
    method.load_state_dict(_method_state(run, epoch, bool(list(method.parameters()))), strict=False)
    return Subject(
        student=student, method=method.to(device).eval(), teacher=teacher, images=images,
        many=statistics(bundle), classes=bundle.classes, mean=bundle.mean, std=bundle.std,
    )  # fmt: skip


def data_of(workspace: Workspace, run: RunDirectory) -> DatasetBundle:
    """The data of a run; kept for the runs looked at last. Raises BadInput where they changed since it was trained."""
    bundle = _data(str(workspace.root), run.spec_text())
    changed_data.compare(run, bundle)
    return bundle


@lru_cache(maxsize=4)
def _data(root: str, spec_yaml: str) -> DatasetBundle:
    return assembly.load_data(ExperimentSpec.from_yaml(spec_yaml), Workspace(root))


def _student(run: RunDirectory, epoch: Epoch) -> Backbone:
    if epoch in (BEST, LAST):
        return load_student(run, last=epoch == LAST)[0]
    path = run.checkpoints / f"epoch-{epoch:0>4}.safetensors"
    if not path.is_file():
        raise BadInput(Problem("epoch", f"the run {run.id} has no weights of epoch {epoch}; {_offer(run)}"))
    return load_network(read_card(run), path)


def _offer(run: RunDirectory) -> str:
    kept = ", ".join(map(str, kept_epochs(run)))
    return f"there are best, last{' and ' + kept if kept else ''} (runtime.keep_epochs keeps others)"


def _teacher_source(workspace: Workspace, run: RunDirectory, spec: ExperimentSpec) -> assembly.TeacherSource | None:
    if spec.teacher is None:
        return None
    if spec.teacher.imported is not None:
        return records.of_digest(workspace, spec.teacher.imported, spec.teacher.digest)
    name = run.status().get("teacher_run")
    teacher = workspace.run(name) if name else None
    if teacher is None or not teacher.student_file.is_file():
        gone = "was deleted" if run.status().get("teacher_deleted") else "has no weights here"
        message = f"the teacher of {run.id} ({name or 'not trained yet'}) {gone}, so it cannot be looked into beside it"
        raise BadInput(Problem("teacher", message))
    return teacher


def _method_state(run: RunDirectory, epoch: Epoch, needed: bool) -> Mapping[str, Tensor]:
    """The method's own parts at an epoch; {} for a method that has none."""
    if epoch == LAST:
        if run.last_checkpoint.is_file():
            module: dict[str, Any] = checkpoint.load(run.last_checkpoint)["module"]
            return {
                name.removeprefix("method."): value
                for name, value in module.items()
                if _is_tensor_of_method(name, value)
            }
    else:
        path = run.method_file if epoch == BEST else run.checkpoints / f"epoch-{epoch:0>4}.method.safetensors"
        if path.is_file():
            return read_tensors(path)
    if needed:
        message = f"the method's own parts at the {epoch} epoch of {run.id} were not kept; train it again to see them"
        raise BadInput(Problem("epoch", message))
    return {}


def _is_tensor_of_method(name: str, value: Any) -> bool:
    return name.startswith("method.") and isinstance(value, Tensor)
