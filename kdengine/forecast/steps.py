"""How long a few real training steps take, and what of them is the teacher's."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdengine import assembly
from kdengine.forecast.made_up import PROBE_BATCH, Counts, batches_of, decoded, made_up, teachers_of
from kdengine.methods.base import BatchLike
from kdengine.models.backbone import Shapes
from kdengine.spec import ExperimentSpec
from kdengine.training.cached_logits import expected_live, filled_share
from kdengine.training.hardware import pick_device
from kdengine.training.loop import Trainer
from kdengine.workspace import Workspace

# Fewer images than these would measure the optimiser more than the images.
MIN_BATCH = 4
MAX_STEPS = 8
STEP_S = 0.4


class Steps(NamedTuple):
    """What was measured: batch size, seconds of one step with it, bytes that one image keeps until the backward pass.

    ``peak`` is the allocator's, None on a CPU.
    """

    batch_size: int
    seconds: float
    bytes_per_image: float
    peak: int | None


def time_steps(trainer: Trainer, spec: ExperimentSpec, counts: Counts) -> Steps:
    """Two steps with two images show how many the timed steps can afford; the whole part where they are quick."""
    full = spec.recipe.part_size
    probe = _take_steps(trainer, spec, counts, min(PROBE_BATCH, full), most=2)
    affordable = max(MIN_BATCH, int(probe.batch_size * STEP_S / probe.seconds))
    # Even, because some samplers pair the two halves of a batch.
    batch_size = full if affordable >= full else affordable // 2 * 2
    while batch_size > probe.batch_size:
        try:
            return _take_steps(trainer, spec, counts, batch_size, most=MAX_STEPS)
        except torch.OutOfMemoryError:
            trainer.optimizer.zero_grad(set_to_none=True)
            batch_size = batch_size // 4 * 2
    return probe


def _take_steps(trainer: Trainer, spec: ExperimentSpec, counts: Counts, batch_size: int, most: int) -> Steps:
    """Two steps, up to ``most`` timed ones when they are quick. The first sets things up; what it keeps is counted."""
    trainer.train_batches = batches_of(spec, counts, batch_size, trainer.device)
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
    return Steps(batch_size, statistics.median(seconds), saved.bytes / batch_size, peak)


def _steps(trainer: Trainer) -> Iterator[float]:
    """Trains on and on; yields the seconds of each step, its batch included."""
    began = time.perf_counter()
    for epoch in itertools.count():  # a few images make a short epoch
        for batch in trainer.train_batches.epoch(epoch):
            trainer.train_step(batch)
            _wait(trainer.device)
            yield time.perf_counter() - began
            began = time.perf_counter()


@torch.no_grad()
def forward_seconds(trainer: Trainer, spec: ExperimentSpec, device: torch.device) -> float:
    """Seconds an image takes in evaluation, in batches."""
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


def teacher_seconds(trainer: Trainer, spec: ExperimentSpec) -> float:
    """Seconds that the teacher takes of a full step; 0 without one."""
    if trainer.teacher is None:
        return 0.0
    batch: BatchLike = next(iter(trainer.train_batches.epoch(0)))
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        trainer.teacher.outputs_for(batch)
        _wait(trainer.device)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * spec.recipe.batch_size / len(batch.image)


def read_share(trainer: Trainer, spec: ExperimentSpec, workspace: Workspace, counts: Counts) -> float:
    """Share of the teacher's logits that the run will read instead of having them computed, 0..1."""
    batches = assembly.training_batches(spec, made_up(spec, counts), torch.device("cpu"))
    if trainer.teacher is None or not assembly.caches_logits(spec, batches):
        return 0.0
    filled = _filled_share(trainer.teacher.shapes(), spec, workspace)
    if not assembly.cache_saves_time(spec, trainer.device, filled):
        return 0.0
    seen = spec.recipe.epochs * batches.views
    return 1 - (expected_live(batches.view_count, seen, filled) if batches.view_count else 1 - filled)


def _filled_share(teacher: Shapes, spec: ExperimentSpec, workspace: Workspace) -> float:
    """How much of the teacher's table is there already; 0 where the data or the teacher have still to come."""
    assert spec.teacher is not None
    inner = spec.teacher.spec
    source = assembly.find_finished(workspace, inner.fingerprint()) if inner else assembly.find_teacher(spec, workspace)
    bundle = decoded(spec, workspace) if source is not None else None
    if source is None or bundle is None:
        return 0.0
    batches = assembly.training_batches(spec, bundle, pick_device(spec.runtime.device))
    key = assembly.table_key(spec, bundle, source, teacher, batches)
    return filled_share(workspace.cache, key) if key is not None else 0.0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
    modules: list[nn.Module] = [trainer.module, *teachers_of(trainer)]
    weights = itertools.chain.from_iterable(itertools.chain(m.parameters(), m.buffers()) for m in modules)
    saved = _Saved({weight.untyped_storage().data_ptr() for weight in weights})
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        yield saved
