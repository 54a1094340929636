"""Would torch.compile pay? The steps of a run, eager and compiled, in turns, and what compiling itself takes.

Compiling takes from ten seconds to minutes and gains from nothing to a half, by processor, network and method: nobody
can know without trying. What was tried once is kept in the workspace's cache.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from kdengine.forecast.made_up import Counts, batches_of, data_counts, moved_to, trainer_of
from kdengine.forecast.no_trace import no_trace
from kdengine.forecast.steps import read_share
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned
from kdengine.training.hardware import configure, pick_device
from kdengine.tuning.cache import Times, open_times
from kdengine.tuning.timing import own_clock
from kdengine.workspace import Workspace

EAGER, COMPILED, START = "eager step", "compiled step", "compiling"
EAGER_TEACHER, COMPILED_TEACHER = "eager teacher in it", "compiled teacher in it"
CANDIDATES = {EAGER, COMPILED, START, EAGER_TEACHER, COMPILED_TEACHER}
MIN_S = 1e-9
STEPS = 5
WARM_UP = 2
"""Untimed steps of each; compiling happens in the first."""


@dataclass(frozen=True)
class Compiling:
    """What compiling costs and gains; ``dataclasses.asdict`` gives JSON.

    Attributes:
        eager_s, compiled_s: seconds of a step, on average over the run: cached logits of a teacher are not computed.
        start_s: seconds that compiling takes, at every start of a run.
        steps: of the whole run.
        on: whether the spec has it on.
    """

    eager_s: float
    compiled_s: float
    start_s: float
    steps: int
    on: bool

    @property
    def saved_s(self) -> float:
        """Seconds that compiling saves in the whole run; negative where it costs more than it gains."""
        return self.steps * (self.eager_s - self.compiled_s) - self.start_s


def try_compiling(spec: ExperimentSpec, workspace: Workspace, device: str | None = None) -> Compiling:
    """Measures a run's steps eager and compiled, which takes as long as compiling does; keeps what it found.

    Args:
        spec: the experiment; its data need not be here.
        workspace: where teachers and what was measured are looked for.
        device: where to measure; by default on the device of the spec.

    Raises:
        BadInput: networks, method, batch or device do not fit; DataError: one's own images cannot be found.
    """
    spec = moved_to(pinned(spec, workspace), device)
    with no_trace():
        configure(spec.runtime, pick_device(spec.runtime.device))
        counts = data_counts(spec, workspace)
        times = _measure(spec, workspace, counts)
        with open_times(workspace.cache) as known:
            known.put(words(spec), times)
        return _compiling(spec, workspace, counts, times)


def known_compiling(spec: ExperimentSpec, workspace: Workspace, device: str | None = None) -> Compiling | None:
    """The same from what was measured before on this machine; None where it never was."""
    spec = moved_to(pinned(spec, workspace), device)
    with no_trace():
        configure(spec.runtime, pick_device(spec.runtime.device))
        with open_times(workspace.cache) as known:
            times = known.get(words(spec), CANDIDATES)
        return None if times is None else _compiling(spec, workspace, data_counts(spec, workspace), times)


def _compiling(spec: ExperimentSpec, workspace: Workspace, counts: Counts, times: Times) -> Compiling:
    steps = spec.recipe.epochs * max(1, counts.train // spec.recipe.batch_size) * spec.recipe.accumulate
    trainer = trainer_of(spec, workspace, counts, pick_device(spec.runtime.device))
    read = read_share(trainer, spec, workspace, counts)
    eager = times[EAGER] - read * times[EAGER_TEACHER]
    compiled = times[COMPILED] - read * times[COMPILED_TEACHER]
    return Compiling(max(MIN_S, eager), max(MIN_S, compiled), times[START], steps, spec.runtime.compile)


def _measure(spec: ExperimentSpec, workspace: Workspace, counts: Counts) -> Times:
    torch._dynamo.reset()  # what an earlier question has compiled would make this start look free
    eager, compiled = (_Steps(spec, workspace, counts, compile) for compile in (False, True))
    for _ in range(WARM_UP):
        eager.whole()
    began = time.perf_counter()
    for _ in range(WARM_UP):
        compiled.whole()
    start = time.perf_counter() - began
    calls = {
        EAGER: eager.whole, COMPILED: compiled.whole, EAGER_TEACHER: eager.teacher, COMPILED_TEACHER: compiled.teacher,
    }  # fmt: skip
    rounds = [{name: call() for name, call in calls.items()} for _ in range(STEPS)]
    times = {name: max(MIN_S, statistics.median(each[name] for each in rounds)) for name in calls}
    return times | {START: max(MIN_S, start - WARM_UP * times[COMPILED])}


class _Steps:
    """Steps of the run, each with the batch that it takes, and the seconds that they and their teacher take."""

    def __init__(self, spec: ExperimentSpec, workspace: Workspace, counts: Counts, compile: bool) -> None:
        self.device = pick_device(spec.runtime.device)
        self.trainer = trainer_of(spec, workspace, counts, self.device, compile)
        batches = batches_of(spec, counts, spec.recipe.part_size, self.device, compile)
        self.trainer.train_batches = batches
        self.trainer.module.train()
        # Few images make a short epoch.
        self._stream = (batch for epoch in itertools.count() for batch in batches.epoch(epoch))
        self._clock = own_clock() if self.device.type == "cpu" else time.perf_counter

    def whole(self) -> float:
        return self._timed(lambda: self.trainer.train_step(next(self._stream)))

    def teacher(self) -> float:
        """0 without one."""
        teacher, batch = self.trainer.teacher, next(self._stream)
        if teacher is None:
            return 0.0
        with self.trainer.autocast():
            return self._timed(lambda: teacher.outputs_for(batch))

    def _timed(self, call: Callable[[], object]) -> float:
        began = self._clock()
        call()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self._clock() - began


def words(spec: ExperimentSpec) -> str:
    """All that a step's time depends on; not the recipe's numbers, nor whose weights they are."""
    teacher = spec.teacher
    whose = "no teacher" if teacher is None else (teacher.spec.student.name if teacher.spec else teacher.word())
    runtime = spec.runtime
    where = f"{runtime.device}, {runtime.precision}, {runtime.channels_last}"
    nets = f"{whose} to {spec.student.name} {spec.student.params.model_dump()}"
    return f"compiling {spec.method.name}, {nets}, {spec.data.image_size} px, parts of {spec.recipe.part_size}, {where}"
