"""Where a run's teacher comes from: a finished run, an import, or a run that has still to be trained."""

from __future__ import annotations

import torch

from kdengine.assembly import changed_data
from kdengine.assembly.data import load_data
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, load_student, read_card
from kdengine.spec import ExperimentSpec
from kdengine.teachers import check, records, weights
from kdengine.teachers.records import Imported
from kdengine.training.teacher import Choose, FrozenTeacher, directly
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

TeacherSource = RunDirectory | Imported
"""Where a teacher that need not be trained any more lies."""


def freeze_teacher(
    source: TeacherSource,
    bundle: DatasetBundle,
    device: torch.device,
    channels_last: bool,
    compile: bool = False,
    reduced: torch.dtype | None = None,
    choose: Choose = directly,
) -> FrozenTeacher:
    """The network of a finished run, or an import, as a teacher for these data."""
    backbone, card = load_teacher(source)
    return FrozenTeacher(
        backbone,
        mean=card.mean,
        std=card.std,
        batch_mean=bundle.mean,
        batch_std=bundle.std,
        device=device,
        channels_last=channels_last,
        compile=compile,
        reduced=reduced,
        choose=choose,
    )


def load_teacher(source: TeacherSource) -> tuple[Backbone, ModelCard]:
    """The network of a finished run, or an import, in eval mode on the CPU, and its card."""
    return weights.load(source) if isinstance(source, Imported) else load_student(source)


def find_finished(workspace: Workspace, fingerprint: str) -> RunDirectory | None:
    """The newest finished run of that fingerprint, if there is one."""
    for run in reversed(workspace.list_runs()):
        status = run.status()
        if (
            status.get("fingerprint") == fingerprint
            and status.get("state") == State.FINISHED
            and run.student_file.is_file()
        ):
            return run
    return None


def find_teacher(spec: ExperimentSpec, workspace: Workspace) -> TeacherSource | None:
    """Where the teacher lies; None where there is none, or it is to be trained first. Raises BadInput."""
    teacher = spec.teacher
    if teacher is None or teacher.spec is not None:
        return None
    if teacher.imported is not None:
        return records.of_digest(workspace, teacher.imported, teacher.digest)
    return check_teacher_run(workspace, teacher.run or "")


def check_teacher_run(workspace: Workspace, run_id: str) -> RunDirectory:
    """The run of a teacher; raises BadInput when it does not exist or is not finished."""
    run = workspace.existing_run(run_id, "teacher.run")
    state = run.state()
    if state != State.FINISHED:
        raise BadInput(
            Problem("teacher.run", f"the run {run.id} is {state}, a teacher must be finished; resume it first")
        )
    return run


def check_teacher_fits(source: TeacherSource, spec: ExperimentSpec, bundle: DatasetBundle) -> None:
    """Raises BadInput when the teacher's classes, their order or its image size differ from the data's.

    An import is shown a batch as well: nobody knows what it was trained on.
    """
    if isinstance(source, Imported):
        check.check_order(source, bundle)
    else:
        _check_run_fits(source, spec, bundle)


def _check_run_fits(run: RunDirectory, spec: ExperimentSpec, bundle: DatasetBundle) -> None:
    card = read_card(run)
    if len(card.classes) != len(bundle.classes):
        counts = f"knows {len(card.classes)} classes, {bundle.name} has {len(bundle.classes)}"
        message = f"the teacher {run.id} {counts}; they must be the same"
        raise BadInput(Problem("teacher.run", message))
    if card.classes != bundle.classes:
        different = [f"{a!r} and {b!r}" for a, b in zip(card.classes, bundle.classes, strict=True) if a != b]
        message = f"the teacher {run.id} and {bundle.name} name their classes differently: {', '.join(different[:3])}"
        raise BadInput(Problem("teacher.run", message))
    if card.image_size != spec.data.image_size:
        sizes = f"{card.image_size} px images, the student's are {spec.data.image_size} px"
        message = f"the teacher {run.id} was trained on {sizes}"
        raise BadInput(Problem("teacher.run", message))
    _check_same_images(run, spec)


def _check_same_images(run: RunDirectory, spec: ExperimentSpec) -> None:
    """Refuses a teacher that may have been trained on images of the student's test part, where both have one source."""
    its_spec = ExperimentSpec.from_yaml(run.spec_text())
    ours, theirs = (each.data.params.model_dump() for each in (spec, its_spec))
    if spec.data.name != its_spec.data.name or ours.get("path") != theirs.get("path"):
        return
    changed_data.compare(run, load_data(its_spec, Workspace(run.home)), field="teacher.run")
    if ours.get("split") != theirs.get("split"):
        message = (
            f"the teacher {run.id} was trained under data.split={theirs['split']}, the student is to be under "
            f"{ours['split']}: images that it was trained on would be tested on; set data.split={theirs['split']}"
        )
        raise BadInput(Problem("data.split", message))
