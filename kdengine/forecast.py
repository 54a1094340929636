"""What a run will cost, from a few real training steps on made-up pictures. Nothing is written and nothing downloaded.

The steps are those of the loop itself, with the spec's networks, method, precision and batches; of a batch that is
computed in parts, a part is measured. Big networks are measured with a smaller batch, and time and memory are scaled up
linearly.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kdengine import assembly
from kdengine.data import DatasetBundle, DatasetDefinition, Part, splits
from kdengine.data.loader import BatchLoader
from kdengine.data.store import is_stored
from kdengine.errors import BadInput, Problem
from kdengine.evaluation.cost import count, latency, size_in_bytes
from kdengine.methods.base import BatchLike, Method
from kdengine.models.backbone import Backbone, Shapes
from kdengine.registry import DATASETS
from kdengine.rundir import RunDirectory
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned
from kdengine.training import checkpoint
from kdengine.training.hardware import choose_precision, configure, pick_device
from kdengine.training.loop import Trainer
from kdengine.training.replay import expected_live, filled_share
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace

# Seen on two CPU cores: a new process that imports torch and MLflow and opens both; and, after each epoch, the
# checkpoint, two files of weights and MLflow's rows.
STARTUP_S = 6.0
COMPILE_S = 60.0
EPOCH_OVERHEAD_S = 0.3

# Fewer pictures than these would tell more of the optimiser than of the pictures.
LEAST_BATCH = 4
PROBE_BATCH = 2
MOST_STEPS = 8
STEP_S = 0.4
LATENCY_S = 0.2
PICTURE_POOL = 64


@dataclass(frozen=True)
class NetworkCost:
    """A network as it would be deployed.

    Attributes:
        name: catalog name.
        parameters: number of weights.
        macs: multiply-accumulates for one picture.
        bytes: size of weights and buffers as stored.
        milliseconds: of one picture alone, on the device of the forecast.
    """

    name: str
    parameters: int
    macs: int
    bytes: int
    milliseconds: float


@dataclass(frozen=True)
class Forecast:
    """What a run will cost; ``dataclasses.asdict`` gives JSON.

    Attributes:
        student, teacher: the networks; teacher None for methods without one.
        method_parameters: weights that the method adds for training only.
        device: where it would run, as torch names it.
        steps_per_epoch: optimiser steps of one epoch.
        images_per_s: pictures that training gets through in a second.
        epoch_seconds: one epoch with its validation and checkpoint.
        seconds: the student's whole run: start, epochs, test.
        teacher_seconds: the same for its teacher; 0 without one, or when it is, or an equal one is, trained already.
        replay_share: share of the teacher's answers that are read from stored ones, 0..1.
        replay_seconds: what that saves; taken off ``seconds`` and ``epoch_seconds`` already.
        memory_bytes: peak of training: weights, gradients, optimiser, EMA, what one step, or one part of it, keeps for
            its backward pass, teacher, pictures of the batch and those held on the device. On CUDA from the
            allocator's peak. The libraries themselves (half a GB or so in any process) come on top.
    """

    student: NetworkCost
    teacher: NetworkCost | None
    method_parameters: int
    device: str
    steps_per_epoch: int
    images_per_s: float
    epoch_seconds: float
    seconds: float
    teacher_seconds: float
    replay_share: float
    replay_seconds: float
    memory_bytes: int


class _Counts(NamedTuple):
    """Sizes of the data: classes, and pictures of each part."""

    classes: int
    train: int
    validation: int
    test: int


class _Steps(NamedTuple):
    """What was measured: batch size, seconds of one step with it, bytes that one picture keeps until the backward pass.

    ``peak`` is the allocator's, None on a CPU.
    """

    batch_size: int
    seconds: float
    bytes_per_picture: float
    peak: int | None


def forecast(spec: ExperimentSpec, workspace: Workspace, device: str | None = None) -> Forecast:
    """Measures for a second or two what the experiment will cost. Random states, settings and files stay as they were.

    Args:
        spec: the experiment. Its data need not be here: then their published numbers are used.
        workspace: where teachers and decoded data are looked for.
        device: where to measure, as a spec names it; by default on the device of the spec. On the CPU a precision that
            only the GPU may have is left to the CPU's own choice.

    Raises:
        BadInput: networks, method, batch or device do not fit; DataError: one's own pictures cannot be found.
    """
    spec = pinned(spec, workspace)
    with _no_trace():
        student = _measure(_moved_to(spec, device), workspace)
    inner = spec.teacher.spec if spec.teacher else None
    if inner is None or assembly.find_finished(workspace, inner.fingerprint()):
        return student
    with _no_trace():
        teacher = _measure(_moved_to(inner, device), workspace)
    return _with_teacher_seconds(student, teacher.seconds)


def _moved_to(spec: ExperimentSpec, device: str | None) -> ExperimentSpec:
    """The experiment on another device; it is then good for a measurement alone, since precision is part of it."""
    if device is None or device == spec.runtime.device:
        return spec
    change: dict[str, str] = {"device": device}
    if device == "cpu" and spec.runtime.precision != "fp32":
        change["precision"] = "auto"
    return spec.model_copy(update={"runtime": spec.runtime.model_copy(update=change)})


def _with_teacher_seconds(student: Forecast, seconds: float) -> Forecast:
    return Forecast(**vars(student) | {"teacher_seconds": seconds})


def _measure(spec: ExperimentSpec, workspace: Workspace) -> Forecast:
    device = pick_device(spec.runtime.device)
    configure(spec.runtime, device)
    counts = _data_counts(spec, workspace)
    steps_per_epoch = assembly.training_batches(spec, _bundle(spec, counts), torch.device("cpu")).steps_per_epoch
    allocated = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    trainer = _trainer(spec, workspace, counts, device)
    steps = _time_steps(trainer, spec, counts)
    forward = _forward_seconds(trainer, spec, device)
    step_seconds = steps.seconds * spec.recipe.batch_size / steps.batch_size
    read = _read_share(trainer, spec, workspace, counts)
    saved = read * steps_per_epoch * _teacher_seconds(trainer, spec)
    epoch_seconds = steps_per_epoch * step_seconds - saved + counts.validation * forward + EPOCH_OVERHEAD_S
    # The test part is read with the last and with the best weights.
    seconds = (
        STARTUP_S + COMPILE_S * spec.runtime.compile + spec.recipe.epochs * epoch_seconds + 2 * counts.test * forward
    )
    teacher = next(iter(_teacher_modules(trainer)), None)
    return Forecast(
        student=_network_cost(trainer.deployed),
        teacher=_network_cost(teacher) if teacher is not None else None,
        method_parameters=_training_only(trainer),
        device=str(device),
        steps_per_epoch=steps_per_epoch,
        images_per_s=spec.recipe.batch_size / step_seconds,
        epoch_seconds=epoch_seconds,
        seconds=seconds,
        teacher_seconds=0.0,
        replay_share=read,
        replay_seconds=spec.recipe.epochs * saved,
        memory_bytes=_memory(trainer, spec, counts, steps, allocated),
    )


# the data -------------------------------------------------------------------------------------------------------------


def _data_counts(spec: ExperimentSpec, workspace: Workspace) -> _Counts:
    """Exact where the pictures are decoded already, else from the published numbers or the names of one's own files."""
    data = spec.data
    bundle = _decoded(spec, workspace)
    if bundle is not None:
        return _Counts(len(bundle.classes), len(bundle.train), len(bundle.validation), len(bundle.test))
    definition: DatasetDefinition = DATASETS.get(data.name)
    if definition.counts is not None and definition.class_count is not None:
        classes, (train, test) = definition.class_count, definition.counts
    else:
        source = definition.open(data.params, workspace.datasets)
        classes, train, test = len(source.classes), source.train_count, len(source.labels) - source.train_count
    each = train // classes
    held_out = splits.carved_count(each, data.validation) * classes
    left = round((train - held_out) * data.fraction)
    if data.per_class is not None:
        left = min(left, data.per_class * classes)
    meta = assembly.needs(spec).meta
    return _Counts(classes, left - round(left * meta), held_out, test)


def _decoded(spec: ExperimentSpec, workspace: Workspace) -> DatasetBundle | None:
    """The data, where their pictures are decoded already; None where that, or the download, is still to be done."""
    data = spec.data
    identity = DATASETS.get(data.name).identity(data.params, workspace.datasets)
    there = is_stored(workspace.datasets, data.name, identity, data.image_size)
    return assembly.load_data(spec, workspace) if there else None


def _bundle(spec: ExperimentSpec, counts: _Counts) -> DatasetBundle:
    """Data of those sizes without pictures of their own: a few made-up ones stand for all."""
    size = spec.data.image_size
    pool = np.random.default_rng(0).integers(0, 256, (PICTURE_POOL, size, size, 3), dtype=np.uint8)

    def part(length: int) -> Part:
        numbers = np.arange(length)
        return Part(pool, numbers % PICTURE_POOL, numbers % counts.classes)

    return DatasetBundle(
        name=spec.data.name,
        classes=tuple(map(str, range(counts.classes))),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        image_size=size,
        train=part(counts.train),
        validation=part(counts.validation),
        test=part(counts.test),
        digest="",
    )


def _loader(spec: ExperimentSpec, counts: _Counts, batch_size: int, device: torch.device) -> BatchLoader:
    """A few batches as training will see them."""
    few = min(counts.train, max(3 * batch_size, 4 * counts.classes))
    recipe = spec.recipe.model_copy(update={"batch_size": batch_size})
    runtime = spec.runtime.model_copy(update={"compile": False, "workers": 0})
    smaller = spec.model_copy(update={"recipe": recipe, "runtime": runtime})
    return assembly.training_batches(smaller, _bundle(spec, counts._replace(train=few)), device)


# the networks ---------------------------------------------------------------------------------------------------------


def _trainer(spec: ExperimentSpec, workspace: Workspace, counts: _Counts, device: torch.device) -> Trainer:
    layout = torch.channels_last if spec.runtime.channels_last else torch.contiguous_format
    student = assembly.seeded_student(spec, counts.classes).to(device, memory_format=layout)  # type: ignore[call-overload]
    teacher = _teacher(spec, workspace, counts.classes, device)
    taught_by = teacher.backbone if teacher is not None else None
    method: Method = assembly.build_method(spec, counts.classes, counts.train, student, taught_by)
    method.to(device)
    eager = spec.model_copy(
        update={
            "runtime": spec.runtime.model_copy(update={"compile": False}),
            "recipe": spec.recipe.model_copy(update={"accumulate": 1}),  # a part is measured as a batch of its own
        }
    )
    return Trainer(
        spec=eager,
        student=student,
        method=method,
        teacher=teacher,
        train=_loader(spec, counts, PROBE_BATCH, device),
        validation=lambda: iter(()),
        run=RunDirectory(workspace.runs / "forecast"),  # single steps write nothing there
        device=device,
        reduced=choose_precision(spec.runtime.precision, device).student,
    )


def _teacher(spec: ExperimentSpec, workspace: Workspace, classes: int, device: torch.device) -> FrozenTeacher | None:
    if spec.teacher is None:
        return None
    if spec.teacher.spec is not None:
        backbone = assembly.build_backbone(spec.teacher.spec.student, classes, spec.data.image_size)
    else:
        taught = assembly.find_teacher(spec, workspace)
        assert taught is not None
        backbone = assembly.load_teacher(taught)[0]
        known = backbone.shapes().classes
        if known != classes:
            message = f"the teacher {taught.id} knows {known} classes, {spec.data.name} has {classes}"
            raise BadInput(Problem("teacher", message + "; they must be the same"))
    same = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return FrozenTeacher(
        backbone,
        mean=same[0],
        std=same[1],
        batch_mean=same[0],
        batch_std=same[1],
        device=device,
        channels_last=spec.runtime.channels_last,
        reduced=choose_precision(spec.runtime.precision, device).teacher,
    )


def _teacher_modules(trainer: Trainer) -> list[Backbone]:
    return [trainer.teacher.backbone] if trainer.teacher is not None else []


def _training_only(trainer: Trainer) -> int:
    """Weights of the method that are not deployed."""
    shipped = {id(parameter) for parameter in trainer.deployed.parameters()}
    return sum(parameter.numel() for parameter in trainer.module.method.parameters() if id(parameter) not in shipped)


def _network_cost(backbone: Backbone) -> NetworkCost:
    cost = count(backbone)
    once = latency(backbone, repeats=1)
    repeats = min(10, int(LATENCY_S / max(once, 1e-6)))
    seconds = latency(backbone, repeats=repeats) if repeats > 1 else once
    return NetworkCost(backbone.name, cost.parameters, cost.macs, cost.bytes, 1000 * seconds)


# time -----------------------------------------------------------------------------------------------------------------


def _time_steps(trainer: Trainer, spec: ExperimentSpec, counts: _Counts) -> _Steps:
    """Two steps with two pictures tell how many the timed steps can afford; the whole part where they are quick."""
    full = spec.recipe.part_size
    probe = _take_steps(trainer, spec, counts, min(PROBE_BATCH, full), most=2)
    affordable = max(LEAST_BATCH, int(probe.batch_size * STEP_S / probe.seconds))
    # Even, because some samplers pair the two halves of a batch.
    batch_size = full if affordable >= full else affordable // 2 * 2
    while batch_size > probe.batch_size:
        try:
            return _take_steps(trainer, spec, counts, batch_size, most=MOST_STEPS)
        except torch.OutOfMemoryError:
            trainer.optimizer.zero_grad(set_to_none=True)
            batch_size = batch_size // 4 * 2
    return probe


def _take_steps(trainer: Trainer, spec: ExperimentSpec, counts: _Counts, batch_size: int, most: int) -> _Steps:
    """Two steps, up to ``most`` timed ones when they are quick. The first sets things up; what it keeps is counted."""
    trainer.train_batches = _loader(spec, counts, batch_size, trainer.device)
    trainer.module.train()
    cuda = trainer.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    stream = _steps(trainer)
    with _counting_saved(trainer) as saved:
        next(stream)
    seconds: list[float] = []
    while len(seconds) < most and sum(seconds) < STEP_S:
        seconds.append(next(stream))
    peak = torch.cuda.max_memory_allocated(trainer.device) if cuda else None
    return _Steps(batch_size, statistics.median(seconds), saved.bytes / batch_size, peak)


def _steps(trainer: Trainer) -> Iterator[float]:
    """Trains on and on; yields the seconds of each step, its batch included."""
    began = time.perf_counter()
    for epoch in itertools.count():  # a few pictures make a short epoch
        for batch in trainer.train_batches.epoch(epoch):
            trainer.train_step(batch)
            _wait(trainer.device)
            yield time.perf_counter() - began
            began = time.perf_counter()


@torch.no_grad()
def _forward_seconds(trainer: Trainer, spec: ExperimentSpec, device: torch.device) -> float:
    """Seconds a picture takes in evaluation, in batches."""
    batch: BatchLike = next(iter(trainer.train_batches.epoch(0)))
    student = trainer.student.eval()
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        with trainer.autocast():
            student(batch.image)
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds) / len(batch.image)


def _teacher_seconds(trainer: Trainer, spec: ExperimentSpec) -> float:
    """Seconds that the teacher takes of a full step; 0 without one."""
    if trainer.teacher is None:
        return 0.0
    batch: BatchLike = next(iter(trainer.train_batches.epoch(0)))
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        trainer.teacher.answers(batch)
        _wait(trainer.device)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * spec.recipe.batch_size / len(batch.image)


def _read_share(trainer: Trainer, spec: ExperimentSpec, workspace: Workspace, counts: _Counts) -> float:
    """Share of the teacher's answers that the run will read instead of having them computed, 0..1."""
    batches = assembly.training_batches(spec, _bundle(spec, counts), torch.device("cpu"))
    if trainer.teacher is None or not assembly.replays(spec, batches):
        return 0.0
    filled = _filled_share(trainer.teacher.shapes(), spec, workspace)
    if not assembly.pays_to_replay(spec, trainer.device, filled):
        return 0.0
    seen = spec.recipe.epochs * batches.views
    return 1 - (expected_live(batches.view_count, seen, filled) if batches.view_count else 1 - filled)


def _filled_share(teacher: Shapes, spec: ExperimentSpec, workspace: Workspace) -> float:
    """How much of the teacher's table is there already; 0 where the data or the teacher have still to come."""
    assert spec.teacher is not None
    inner = spec.teacher.spec
    taught = assembly.find_finished(workspace, inner.fingerprint()) if inner else assembly.find_teacher(spec, workspace)
    bundle = _decoded(spec, workspace) if taught is not None else None
    if taught is None or bundle is None:
        return 0.0
    batches = assembly.training_batches(spec, bundle, pick_device(spec.runtime.device))
    key = assembly.replay_key(spec, bundle, taught, teacher, batches)
    return filled_share(workspace.cache, key) if key is not None else 0.0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# memory ---------------------------------------------------------------------------------------------------------------


class _Saved:
    """Bytes that autograd keeps between forward and backward pass, each memory once; weights are not counted."""

    def __init__(self, known: set[int]) -> None:
        self.bytes = 0
        self._known = known

    def pack(self, tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in self._known:
            self._known.add(memory.data_ptr())
            self.bytes += memory.nbytes()
        # Detached: an output saved by the node that made it would otherwise keep itself alive.
        return tensor.detach()


@contextmanager
def _counting_saved(trainer: Trainer) -> Iterator[_Saved]:
    modules: list[nn.Module] = [trainer.module, *_teacher_modules(trainer)]
    weights = itertools.chain.from_iterable(itertools.chain(m.parameters(), m.buffers()) for m in modules)
    saved = _Saved({weight.untyped_storage().data_ptr() for weight in weights})
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        yield saved


def _memory(trainer: Trainer, spec: ExperimentSpec, counts: _Counts, steps: _Steps, allocated: int) -> int:
    """Bytes at the peak of a full step."""
    fixed = _fixed_bytes(trainer)
    pictures = _resident_bytes(spec, counts)
    batch, part = spec.recipe.batch_size, spec.recipe.part_size
    views = assembly.needs(spec).views * 3 * spec.data.image_size**2 * 4
    if steps.peak is None:
        return round(fixed + pictures + batch * views + part * steps.bytes_per_picture)
    few = len(trainer.train_batches.part)  # type: ignore[attr-defined]
    moving = steps.peak - allocated - fixed - _resident_bytes(spec, counts._replace(train=few, validation=0))
    return round(fixed + pictures + max(0, moving) * part / steps.batch_size + (batch - part) * views)


def _fixed_bytes(trainer: Trainer) -> int:
    """Weights, gradients, optimiser, EMA and teacher, whatever the batch."""
    optimizer = [value for state in trainer.optimizer.state.values() for value in state.values()]
    tensors = [value for value in optimizer if isinstance(value, Tensor)]
    tensors += [parameter for parameter in trainer.module.parameters() if parameter.requires_grad]  # its gradient
    networks = [trainer.module, *([] if trainer.ema is None else [trainer.ema])]
    stored = sum(map(size_in_bytes, networks)) + (trainer.teacher.stored_bytes if trainer.teacher is not None else 0)
    return stored + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _resident_bytes(spec: ExperimentSpec, counts: _Counts) -> int:
    """Pictures of train and validation as the loaders hold them, four bytes a pixel; none of a part that is too big."""
    size = spec.data.image_size
    augmentation = assembly.augmentation(spec.data)
    padded = size + 2 * augmentation.crop_padding if augmentation else size
    parts = (counts.train * padded**2 * 4, counts.validation * size**2 * 4)
    limit = assembly.resident_bytes(pick_device(spec.runtime.device))
    return sum(needed for needed in parts if needed <= limit)


# no trace -------------------------------------------------------------------------------------------------------------


@contextmanager
def _no_trace() -> Iterator[None]:
    """Sets everything back that building, seeding and measuring change in this process."""
    random = checkpoint.random_states()
    threads = torch.get_num_threads()
    switches = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    workspace_config = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        yield
    finally:
        checkpoint.restore_random_states(random)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = (
            switches
        )
        torch.use_deterministic_algorithms(deterministic)
        if workspace_config is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
