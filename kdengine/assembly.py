"""From a spec to the things it names: data, student, teacher, method. All that can be wrong is found here."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from kdengine import files, reopening
from kdengine.data import Augmentation, DatasetBundle, load_dataset
from kdengine.data.bundle import Part, spread
from kdengine.data.loader import RESIDENT_BYTES, BatchLoader
from kdengine.errors import BadInput, DataError, DiskFull, KdError, Problem
from kdengine.jobs.placement import as_placed, whole_number, why_no_gpu
from kdengine.methods.base import Context, Method, Needs
from kdengine.models.backbone import Backbone, Shapes, build_model
from kdengine.models.stored import ModelCard, load_student, read_card, read_tensors
from kdengine.registry import METHODS
from kdengine.rundir import RunDirectory
from kdengine.spec import DataSpec, ExperimentSpec, ModelSpec
from kdengine.states import State
from kdengine.teachers import check, records, weights
from kdengine.teachers.records import Imported
from kdengine.training.determinism import check_deterministic
from kdengine.training.hardware import check_bf16_student, choose_precision, pick_device, seed_everything
from kdengine.training.replay import MOST_BYTES, ReplayedTeacher, TableKey, filled_share, open_table, replayable
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace

MIN_FREE_BYTES = 200 << 20
EVALUATION_BATCH = 256
# Other draws than the training batches of the same seed.
META_SEED = 1 << 40

T = TypeVar("T")

Taught = RunDirectory | Imported
"""Where a teacher that need not be trained any more lies."""


def load_data(spec: ExperimentSpec, workspace: Workspace) -> DatasetBundle:
    """The data set of a spec, split and with held-out meta batches where the method asks for them."""
    data = spec.data
    return load_dataset(
        data.name,
        workspace.datasets,
        data.image_size,
        validation=data.validation,
        split_seed=data.split_seed,
        per_class=data.per_class,
        fraction=data.fraction if data.fraction < 1 else None,
        meta=needs(spec).meta,
        cache=workspace.cache,
        options=data.params.model_dump(),
    )


def load_data_of(run: RunDirectory, workspace: Workspace, *, accept: bool = False) -> DatasetBundle:
    """The data of a run as they are now; raises BadInput where they changed since, as `reopening.compare`."""
    bundle = load_data(ExperimentSpec.from_yaml(run.spec_text()), workspace)
    reopening.compare(run, bundle, accept=accept)
    return bundle


def needs(spec: ExperimentSpec) -> Needs:
    """What the spec's method requires."""
    return METHODS.get(spec.method.name).requires(spec.method.params)


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
    return METHODS.get(spec.method.name).build(spec.method.params, context)


def training_batches(spec: ExperimentSpec, bundle: DatasetBundle, device: torch.device) -> BatchLoader:
    """Shuffled, augmented batches of the train part, as the method asks for them."""
    wanted = needs(spec)
    return _shuffled_batches(
        spec, bundle, device, bundle.train, spec.recipe.batch_size, spec.seed, wanted.views, wanted.sampler
    )


def meta_batches(spec: ExperimentSpec, bundle: DatasetBundle, device: torch.device) -> BatchLoader | None:
    """Shuffled, augmented batches for a method that learns how to teach: held out, or of the train part; else None."""
    part = bundle.train if needs(spec).meta_from_train else bundle.meta
    if part is None:
        return None
    return _shuffled_batches(spec, bundle, device, part, min(spec.recipe.batch_size, len(part)), spec.seed + META_SEED)


def _shuffled_batches(
    spec: ExperimentSpec,
    bundle: DatasetBundle,
    device: torch.device,
    part: Part,
    batch_size: int,
    seed: int,
    views: int = 1,
    sampler: str = "uniform",
) -> BatchLoader:
    return BatchLoader(
        part,
        batch_size=batch_size,
        mean=bundle.mean,
        std=bundle.std,
        device=device,
        seed=seed,
        augmentation=augmentation(spec.data),
        shuffle=True,
        drop_last=True,
        views=views,
        channels_last=spec.runtime.channels_last,
        sampler=sampler,
        workers=spec.runtime.workers,
        resident_bytes=resident_bytes(device),
        compile=spec.runtime.compile,
    )


def resident_bytes(device: torch.device) -> int:
    """How much of a part may stay on the device: on a GPU a quarter of what is free there, on a CPU 2 GiB.

    ``KD_RESIDENT_MB`` sets another limit. Which pictures stay changes no number.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    usual = free // 4 if device.type == "cuda" else RESIDENT_BYTES
    return whole_number(os.environ, "KD_RESIDENT_MB", usual >> 20, least=0) << 20


def augmentation(data: DataSpec) -> Augmentation | None:
    """Shift by up to an eighth of the side, mirroring and the rest, as the spec says; None for pictures as they are."""
    if data.augmentation == "none" and not (data.resized_crop or data.rotation or data.cutout):
        return None
    shifted = data.augmentation != "none" and not data.resized_crop
    return Augmentation(
        crop_padding=data.image_size // 8 if shifted else 0,
        flip=data.augmentation == "crop_flip",
        resized_crop=data.resized_crop,
        rotation=data.rotation,
        cutout=data.cutout,
    )


def evaluation_batches(
    spec: ExperimentSpec, bundle: DatasetBundle, part: str, device: torch.device, pictures: int | None = None
) -> BatchLoader:
    """Plain batches, in order, of a part; of at most so many ``pictures``, spread evenly over it.

    The test part never stays on the device: it is gone through a few times at the end of a run, however large it is.
    """
    wanted: Part = getattr(bundle, part)
    limit = resident_bytes(device)
    passing = part == "test"
    workers = spec.runtime.workers
    if passing and workers is None and len(wanted) * spec.data.image_size**2 * 4 <= limit:
        workers = 0  # so few are read faster than processes start
    return BatchLoader(
        wanted if pictures is None else spread(wanted, pictures),
        batch_size=EVALUATION_BATCH,
        mean=bundle.mean,
        std=bundle.std,
        device=device,
        seed=0,
        augmentation=None,
        shuffle=False,
        drop_last=False,
        channels_last=spec.runtime.channels_last,
        workers=workers,
        resident_bytes=0 if passing else limit,
    )


def freeze_teacher(
    taught: Taught,
    bundle: DatasetBundle,
    device: torch.device,
    channels_last: bool,
    compile: bool = False,
    reduced: torch.dtype | None = None,
) -> FrozenTeacher:
    """The network of a finished run, or an import, as a teacher for these data."""
    backbone, card = load_teacher(taught)
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
    )


def replays(spec: ExperimentSpec, batches: BatchLoader) -> bool:
    """Whether the teacher's answers to these batches are worth storing.

    Not for methods that read its maps, for mixed pictures, and, unless ``runtime.replay`` is "on", for views that no
    other step of the run can meet again.
    """
    mode, recipe = spec.runtime.replay, spec.recipe
    comes_again = batches.view_count is not None or mode == "on"
    return mode != "off" and comes_again and replayable(needs(spec)) and not recipe.mixup and not recipe.cutmix


def pays_to_replay(spec: ExperimentSpec, device: torch.device, filled: float) -> bool:
    """Whether reading stored answers saves time, of which a share of 0..1 is there, where they are worth storing.

    On a GPU only when all are: one that is missing has the whole batch computed, and asking costs more than is saved.
    """
    return device.type == "cpu" or spec.runtime.replay == "on" or filled == 1


def replay_key(
    spec: ExperimentSpec, bundle: DatasetBundle, taught: Taught, teacher: Shapes, batches: BatchLoader
) -> TableKey | None:
    """The table that the teacher's answers belong to; None where they are not worth storing, or would grow too large.

    Args:
        taught: where the teacher lies, and ``teacher`` the shapes of its outputs.
    """
    if not replays(spec, batches):
        return None
    finite = batches.view_count is not None
    views = f"{batches.augmentation}" if finite else f"{batches.augmentation}, seed {spec.seed}, {batches.views} views"
    precision = choose_precision(spec.runtime.precision, batches.device)
    key = TableKey(
        teacher=f"{_digest(taught)}, shown pictures normalised by {bundle.mean}, {bundle.std}",
        data=bundle.digest,
        samples=len(bundle.train),
        views=views,
        slots=batches.view_count or spec.recipe.epochs * batches.views,
        width=teacher.classes + (teacher.embedding if "embedding" in needs(spec).teacher else 0),
        precision=precision.of_teacher,
    )
    return key if key.bytes <= MOST_BYTES else None


@contextmanager
def replayed(
    spec: ExperimentSpec,
    bundle: DatasetBundle,
    taught: Taught | None,
    teacher: FrozenTeacher | None,
    batches: BatchLoader,
    workspace: Workspace,
) -> Iterator[FrozenTeacher | ReplayedTeacher | None]:
    """The teacher of a run, with its stored answers where they are worth it, for as long as the run trains."""
    key = None
    if taught is not None and teacher is not None:
        key = replay_key(spec, bundle, taught, teacher.shapes(), batches)
    if key is None or teacher is None:
        yield teacher
        return
    if not pays_to_replay(spec, batches.device, filled_share(workspace.cache, key)):
        yield teacher
        return
    with open_table(workspace.cache, key) as table:
        quick = ReplayedTeacher(teacher, table)
        # Its own seed: which answers are tried must differ from start to start, and draw on nothing else.
        yield quick if quick.check(batches.views_at, time.time_ns()) or table.writable else teacher


def _digest(taught: Taught) -> str:
    """Of everything that decides a teacher's answers: weights, and the normalisation it wants."""
    if isinstance(taught, Imported):
        return taught.digest
    card = read_card(taught)
    return f"{files.digest(taught.student_file)} of {card.model} {card.options}, trained with {card.mean}, {card.std}"


def load_teacher(taught: Taught) -> tuple[Backbone, ModelCard]:
    """The network of a finished run, or an import, in eval mode on the CPU, and its card."""
    return weights.load(taught) if isinstance(taught, Imported) else load_student(taught)


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
    """Whether the spec's method adds heads that answer on their own; those that need a teacher never do."""
    if needs(spec).teacher:
        return False
    student = build_backbone(spec.student, classes, spec.data.image_size)
    return bool(build_method(spec, classes, 1, student, None).exits())


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


# what can be wrong, found before anything is started ------------------------------------------------------------------


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


def device_of(spec: ExperimentSpec) -> torch.device:
    """The device that a spec names, as this process sees it; raises BadInput, which says why no GPU is seen."""
    named = spec.runtime.device
    try:
        return pick_device(as_placed(named))
    except BadInput as error:
        why = why_no_gpu(named)
        raise BadInput([*error.problems, Problem("runtime.device", why)]) if why else error from None


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


def find_teacher(spec: ExperimentSpec, workspace: Workspace) -> Taught | None:
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


def check_teacher_fits(taught: Taught, spec: ExperimentSpec, bundle: DatasetBundle) -> None:
    """Raises BadInput when the teacher's classes, their order or its picture size differ from the data's.

    An import is shown a batch as well: nobody knows what it was trained on.
    """
    if isinstance(taught, Imported):
        check.check_order(taught, bundle)
    else:
        _check_run_fits(taught, spec, bundle)


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
        sizes = f"{card.image_size} px pictures, the student's are {spec.data.image_size} px"
        message = f"the teacher {run.id} was trained on {sizes}"
        raise BadInput(Problem("teacher.run", message))
    _check_same_images(run, spec)


def _check_same_images(run: RunDirectory, spec: ExperimentSpec) -> None:
    """Refuses a teacher that may have been trained on images of the student's test part, where both have one source."""
    its_spec = ExperimentSpec.from_yaml(run.spec_text())
    ours, theirs = (each.data.params.model_dump() for each in (spec, its_spec))
    if spec.data.name != its_spec.data.name or ours.get("path") != theirs.get("path"):
        return
    reopening.compare(run, load_data(its_spec, Workspace(run.home)), field="teacher.run")
    if ours.get("split") != theirs.get("split"):
        message = (
            f"the teacher {run.id} was trained under data.split={theirs['split']}, the student is to be under "
            f"{ours['split']}: images that it was trained on would be tested on; set data.split={theirs['split']}"
        )
        raise BadInput(Problem("data.split", message))


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
        problems.attempt(lambda: _check_precision(spec, student), "runtime.precision")
        problems.attempt(lambda: _check_determinism(spec, student), "runtime.deterministic")
        problems.attempt(lambda: _try_method(spec, bundle, student, teacher), "method")


def _check_precision(spec: ExperimentSpec, student: Backbone) -> None:
    device = device_of(spec)
    if choose_precision(spec.runtime.precision, device).student is not None:
        check_bf16_student(student, device)


def _check_determinism(spec: ExperimentSpec, student: Backbone) -> None:
    if spec.runtime.deterministic and device_of(spec).type == "cuda":
        check_deterministic(student)


def _try_method(spec: ExperimentSpec, bundle: DatasetBundle, student: Backbone, teacher: Backbone | None) -> None:
    method = build_method(spec, len(bundle.classes), len(bundle.train), student, teacher)
    if teacher is not None:
        method.meet_teacher(teacher)


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
        taught = find_teacher(spec, workspace)
        assert taught is not None
        check_teacher_fits(taught, spec, bundle)
        return load_teacher(taught)[0]
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
        raise BadInput(Problem("teacher.spec.data", "the teacher's pictures have other classes than the student's"))
    return build_backbone(inner.student, len(bundle.classes), inner.data.image_size)


def seeded_student(spec: ExperimentSpec, classes: int) -> Backbone:
    """The student with the initial weights of the spec's seed: the same for every method."""
    seed_everything(spec.seed)
    return build_backbone(spec.student, classes, spec.data.image_size)
