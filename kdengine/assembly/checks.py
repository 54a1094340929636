"""All that can be wrong with a spec, found before anything starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from kdengine.assembly.build import build_backbone, build_method, device_of
from kdengine.assembly.data import load_data, training_batches
from kdengine.assembly.teacher import check_teacher_fits, find_teacher, load_teacher
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, DataError, DiskFull, KdError, Problem
from kdengine.models.backbone import Backbone
from kdengine.spec import ExperimentSpec
from kdengine.training.determinism import check_deterministic
from kdengine.training.hardware import choose_precision
from kdengine.tuning.precision import check_bf16_student
from kdengine.workspace import Workspace

MIN_FREE_BYTES = 200 << 20
T = TypeVar("T")


@dataclass
class _Problems:
    """Collects what is wrong instead of stopping at the first."""

    found: list[Problem]

    def attempt(self, action: Callable[[], T], field: str = "") -> T | None:
        """The action's result; None when refused, its problems noted (under ``field`` where they name no path)."""
        try:
            return action()
        except BadInput as error:
            # A room below names its own argument ("batch_size"); the field is the dotted path a person knows.
            self.found += [
                Problem(problem.field if "." in problem.field else field or problem.field, problem.message)
                for problem in error.problems
            ]
        except DataError as error:
            self.found += [Problem(field, problem) for problem in error.problems]
        except KdError as error:
            self.found.append(Problem(field, str(error) or type(error).__name__))
        return None


def preflight(spec: ExperimentSpec, workspace: Workspace) -> DatasetBundle:
    """Loads the data and builds everything once, on the CPU, without writing a run.

    Returns:
        The data, which are then mapped, not loaded again, by the run.

    Raises:
        BadInput: naming every problem: workspace, disk, device, precision, teacher, data, networks, method, batch size.
    """
    problems = _Problems([])
    problems.attempt(lambda: _check_workspace(workspace), "KD_HOME")
    usable = not problems.found
    device = problems.attempt(lambda: device_of(spec), "runtime.device")
    if device is not None:
        problems.attempt(lambda: choose_precision(spec.runtime.precision, device), "runtime.precision")
    if spec.teacher is not None:
        problems.attempt(lambda: find_teacher(spec, workspace), "teacher")
    bundle = problems.attempt(lambda: load_data(spec, workspace), "data") if usable else None
    if bundle is not None:
        problems.attempt(lambda: _check_networks(spec, workspace, bundle, problems))
    if bundle is None or problems.found:
        raise BadInput(list(dict.fromkeys(problems.found)))
    return bundle


def _check_workspace(workspace: Workspace) -> None:
    workspace.check_writable()
    free = shutil.disk_usage(workspace.root).free
    if free < MIN_FREE_BYTES:
        raise DiskFull(
            f"only {free >> 20} MB are free where the workspace {workspace.root} lies, at least "
            f"{MIN_FREE_BYTES >> 20} MB are needed; delete old runs or set KD_HOME to another disk"
        )


def _check_networks(spec: ExperimentSpec, workspace: Workspace, bundle: DatasetBundle, problems: _Problems) -> None:
    classes = len(bundle.classes)
    problems.attempt(lambda: _check_batches(spec, bundle))
    student = problems.attempt(lambda: build_backbone(spec.student, classes, spec.data.image_size), "student")
    teacher: Backbone | None = None
    if spec.teacher is not None:
        teacher = problems.attempt(lambda: _teacher_backbone(spec, workspace, bundle), "teacher")
        if teacher is None:
            return
    if student is not None:
        problems.attempt(lambda: _check_precision(spec, student, workspace), "runtime.precision")
        problems.attempt(lambda: _check_determinism(spec, student), "runtime.deterministic")
        problems.attempt(lambda: _try_method(spec, bundle, student, teacher), "method")


def _check_precision(spec: ExperimentSpec, student: Backbone, workspace: Workspace) -> None:
    device = device_of(spec)
    if device.type == "cpu" and choose_precision(spec.runtime.precision, device).student is not None:
        check_bf16_student(student, spec.recipe.part_size, workspace.cache)


def _check_determinism(spec: ExperimentSpec, student: Backbone) -> None:
    if spec.runtime.deterministic and device_of(spec).type == "cuda":
        check_deterministic(student)


def _try_method(spec: ExperimentSpec, bundle: DatasetBundle, student: Backbone, teacher: Backbone | None) -> None:
    method = build_method(spec, len(bundle.classes), len(bundle.train), student, teacher)
    if teacher is not None:
        method.copy_from_teacher(teacher)


def _check_batches(spec: ExperimentSpec, bundle: DatasetBundle) -> None:
    try:
        training_batches(spec, bundle, torch.device("cpu"))
    except BadInput as error:
        # The loader knows its own arguments; the person knows the settings they come from.
        fields = {"batch_size": "recipe.batch_size"}
        problems = [Problem(fields.get(problem.field, "method"), problem.message) for problem in error.problems]
        raise BadInput(problems) from error


def _teacher_backbone(spec: ExperimentSpec, workspace: Workspace, bundle: DatasetBundle) -> Backbone:
    assert spec.teacher is not None
    inner = spec.teacher.spec
    if inner is None:
        source = find_teacher(spec, workspace)
        assert source is not None
        check_teacher_fits(source, spec, bundle)
        return load_teacher(source)[0]
    if (inner.data.name, inner.data.image_size) != (spec.data.name, spec.data.image_size):
        raise BadInput(
            Problem(
                "teacher.spec.data",
                f"the teacher is trained on {inner.data.name} at {inner.data.image_size} px, the student on "
                f"{spec.data.name} at {spec.data.image_size} px; they must be the same",
            )
        )
    try:
        # The whole of it: a batch too large for the teacher must not be found when the student's run exists already.
        own = preflight(inner, workspace)
    except BadInput as error:
        raise BadInput(
            [Problem(f"teacher.spec.{problem.field}", problem.message) for problem in error.problems]
        ) from error
    if own.classes != bundle.classes:
        raise BadInput(Problem("teacher.spec.data", "the teacher's images have other classes than the student's"))
    return build_backbone(inner.student, len(bundle.classes), inner.data.image_size)
