"""A training step as one CUDA graph: recorded once, then replayed, so that the host launches one thing a step.

What is recorded: teacher, student, loss, backward pass, clipping, optimiser. Around it, as in every step: the batch is
made, the learning rate and the clock are written into the tensors that the graph reads, a method looks ahead, running
sums and the moving average are updated. PyTorch's notes on CUDA graphs, whole-network capture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from kdengine.methods.base import BatchLike, Term
from kdengine.training.teacher import TeacherOutputs

WARM_UP = 3
"""Steps that are taken without a graph first: libraries choose their kernels and allocate in them."""

Terms = dict[str, Term]
Work = Callable[[Any, TeacherOutputs | None], Terms]


class NotCapturable(Exception):
    """The step cannot be recorded, and was not taken: a batch holds what is no tensor, or CUDA refuses to record it."""


class Recorder(Protocol):
    """What records and replays; on a GPU `CudaRecorder`."""

    def warm(self, work: Callable[[], None]) -> None:
        """Does the work as it will be recorded."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records the work without doing it; returns what does it."""
        ...


class CudaRecorder:
    """Records on a GPU; warms up on a stream of its own, as PyTorch asks."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def warm(self, work: Callable[[], None]) -> None:
        """Does the work on the side stream and lets the main one wait for it."""
        main = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            work()
        main.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Captures the work. A thread that pins memory meanwhile does not spoil it: only this one is watched.

        Where that fails, stream and random numbers are as before: CUDA leaves both as they are during a capture.
        """
        graph = torch.cuda.CUDAGraph()
        main = torch.cuda.current_stream(self._device)
        generator = torch.cuda.default_generators[self._device.index or 0]
        before = generator.clone_state()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        except Exception:
            torch.cuda.set_stream(main)
            generator.graphsafe_set_state(before)
            raise
        return graph.replay


class CapturedStep:
    """A step that is done as it is at first, and then replayed on copies of what comes in.

    Args:
        work: batch, outputs of the teacher (None = the work computes them) -> loss terms; gradients and weights are
            its own. All batches must have the same shapes.
        recorder: records and replays.
    """

    def __init__(self, work: Work, recorder: Recorder) -> None:
        self._work = work
        self._recorder = recorder
        self._taken = 0
        self._batch: Any = None
        self._from_teacher: TeacherOutputs | None = None
        self._terms: Terms = {}
        self._replay: Callable[[], None] | None = None

    def __call__(self, batch: BatchLike, from_teacher: TeacherOutputs | None) -> Terms:
        """Takes one step; the terms are overwritten by the next one. Raises NotCapturable before anything is done."""
        if self._replay is None:
            held = held_batch(batch)
            if self._taken < WARM_UP:
                self._taken += 1
                self._recorder.warm(lambda: self._do(batch, from_teacher))
                return self._terms
            self._batch, self._from_teacher = held, _held_outputs(from_teacher, held.views)
            try:
                self._replay = self._recorder.record(lambda: self._do(self._batch, self._from_teacher))
            except Exception as error:
                raise NotCapturable(" ".join(str(error).split()) or type(error).__name__) from error
        _copy(self._batch, batch)
        if from_teacher is not None and self._from_teacher is not None:
            for mine, theirs in zip(self._from_teacher.outputs, from_teacher.outputs, strict=True):
                _copy(mine, theirs)
        self._replay()
        return self._terms

    def _do(self, batch: Any, from_teacher: TeacherOutputs | None) -> None:
        self._terms = self._work(batch, from_teacher)


def held_batch(batch: Any) -> Any:
    """A copy of a batch whose tensors stay where they are. Raises NotCapturable for a field that is no tensor."""
    held: dict[str, Any] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if field.name == "drawn":  # on the host, for the teacher's table, which is asked outside the graph
            held[field.name] = None
        elif isinstance(value, Tensor):
            held[field.name] = value.clone()
        elif isinstance(value, tuple) and all(isinstance(part, Tensor) for part in value):
            held[field.name] = tuple(part.clone() for part in value)
        else:
            raise NotCapturable(f"{type(batch).__name__}.{field.name} is of type {type(value).__name__}, not a tensor")
    return dataclasses.replace(batch, **held)


def _held_outputs(from_teacher: TeacherOutputs | None, views: tuple[Tensor, ...]) -> TeacherOutputs | None:
    if from_teacher is None:
        return None
    outputs = tuple(
        out._replace(
            logits=out.logits.clone(),
            embedding=out.embedding.clone(),
            stages=tuple(stage.clone() for stage in out.stages),
        )
        for out in from_teacher.outputs
    )
    return TeacherOutputs(views, outputs, from_teacher.teacher)


def _copy(mine: Any, theirs: Any) -> None:
    """Writes tensors into the held ones, through dataclasses and tuples."""
    if isinstance(mine, Tensor):
        mine.copy_(theirs, non_blocking=True)
    elif isinstance(mine, tuple):
        for part, other in zip(mine, theirs, strict=True):
            _copy(part, other)
    elif mine is not None:
        for field in dataclasses.fields(mine):
            _copy(getattr(mine, field.name), getattr(theirs, field.name))
