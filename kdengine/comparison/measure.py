"""What a finished run is worth beside its accuracy: fidelity to the teacher, size, work, latency. Measured once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdengine import assembly
from kdengine.assembly import TeacherSource
from kdengine.comparison.progress import MEASURED, measured
from kdengine.evaluation import cost
from kdengine.evaluation.fidelity import agreement, divergence
from kdengine.models.stored import load_student
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import Imported
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory


def measure(run: RunDirectory, teacher: TeacherSource | None, workspace: Workspace) -> dict[str, Any]:
    """Measures a finished run on its test images, on the CPU, and keeps the numbers in its folder.

    Args:
        run: with weights best by validation.
        teacher: whom it is compared with; the run's own, where it had one, goes before.
        workspace: where its data are.

    Returns:
        ``parameters``, ``macs``, ``bytes``; ``milliseconds``, the median of one image alone on one thread; with a
        teacher ``agreement`` (0..1), ``kl`` (nats), ``teacher``, its run or import, and of an import
        ``teacher_accuracy`` (0..1), which no run of its own says.
    """
    known, gone = measured(run), teacher_is_gone(run, workspace)
    if known and gone:
        return known  # fidelity as it was measured while the teacher was there
    teacher = None if gone else _own_teacher(run, workspace) or teacher
    if known and known.get("teacher") == (teacher.id if teacher else None):
        return known
    backbone, _ = load_student(run)
    size = cost.count(backbone)
    numbers: dict[str, Any] = {"parameters": size.parameters, "macs": size.macs, "bytes": size.bytes}
    numbers["milliseconds"] = 1000 * cost.one_thread_latency(backbone)
    numbers["teacher"] = teacher.id if teacher else None
    if teacher is not None:
        ours, theirs = _logits(run, run, workspace), _logits(teacher, run, workspace)
        numbers |= {"agreement": agreement(ours, theirs), "kl": divergence(ours, theirs)}
        if isinstance(teacher, Imported):
            numbers["teacher_accuracy"] = float((theirs.argmax(dim=1) == _labels(run, workspace)).float().mean())
    files.write_json(run.path / MEASURED, numbers)
    return numbers


def teacher_is_gone(run: RunDirectory, workspace: Workspace) -> bool:
    """Whether this run's teacher was deleted; its own status then says who that was."""
    trained = run.status().get("teacher_run")
    return trained is not None and not workspace.run(trained).student_file.is_file()


def _own_teacher(run: RunDirectory, workspace: Workspace) -> TeacherSource | None:
    trained = run.status().get("teacher_run")
    if trained:
        return workspace.run(trained)
    spec = ExperimentSpec.from_yaml(run.spec_text())
    return assembly.find_teacher(spec, workspace)


def _labels(run: RunDirectory, workspace: Workspace) -> Tensor:
    return torch.tensor(assembly.load_data_of(run, workspace).test.labels)


@torch.no_grad()
def _logits(source: TeacherSource, asked: RunDirectory, workspace: Workspace) -> Tensor:
    """Logits (N, C) of the net of a run or import to another run's test images, each with its own normalisation."""
    spec = ExperimentSpec.from_yaml(asked.spec_text())
    bundle = assembly.load_data_of(asked, workspace)
    device = torch.device("cpu")
    net = assembly.freeze_teacher(source, bundle, device, spec.runtime.in_channels_last)
    return torch.cat(
        [net(batch.image).logits for batch in assembly.evaluation_batches(spec, bundle, "test", device).epoch(0)]
    )
