"""The engine as an arm: its own loop, loader and teacher, each switch on or off."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdengine.assembly import assemble_trainer, in_layout
from kdengine.bench import pair as numbers
from kdengine.bench.pair import Pair
from kdengine.bench.rounds import Arm
from kdengine.data import Augmentation
from kdengine.data.batches.loader import Batch, BatchLoader
from kdengine.methods.base import Needs, get_method
from kdengine.spec import ExperimentSpec
from kdengine.training.cached_logits import CachedTeacher, TableKey, open_table
from kdengine.training.loop import Trainer
from kdengine.training.teacher import Choose, FrozenTeacher, directly
from kdengine.tuning.convolutions import by_layer, choose_ways
from kdengine.tuning.layout import CHANNELS_LAST, choose_layout
from kdengine.workspace.rundir import RunDirectory

NOWHERE = RunDirectory(Path("bench-writes-nothing"))
BUDGET_S = 20.0
"""Seconds for choosing: arms that are to be compared must not depend on what else the machine does."""


@dataclass(frozen=True)
class Switches:
    """What can be switched off in turn.

    Attributes:
        channels_last: memory layout of nets and images; None = as a run has it, measured on a CPU.
        fold: the teacher's normalisations folded into its convolutions.
        measured: its convolutions computed in the ways that are measured to be the fastest, on a CPU; without it all
            of them multiply directly.
        compile: student with loss, teacher, and gather go through torch.compile.
        bf16: forward passes of student and teacher under bfloat16 autocast.
        bf16_teacher: those of the teacher.
        graph: the step recorded as a CUDA graph; nothing on a CPU.
    """

    channels_last: bool | None = None
    fold: bool = True
    measured: bool = True
    compile: bool = False
    bf16: bool = False
    bf16_teacher: bool = False
    graph: bool = False


def in_channels_last(pair: Pair, switches: Switches) -> bool:
    """The memory layout of an arm."""
    if switches.channels_last is not None or pair.device.type != "cpu":
        return switches.channels_last is not False
    reduced = torch.bfloat16 if switches.bf16 else None
    return choose_layout(pair.new_student(), pair.batch_size, pair.cache, reduced, BUDGET_S)[0] == CHANNELS_LAST


def chosen_ways(pair: Pair, switches: Switches) -> Choose:
    """What an arm's teacher chooses the ways of its convolutions by."""
    if not switches.measured or pair.device.type != "cpu":
        return directly
    return lambda net: by_layer(choose_ways(net, pair.batch_size, pair.cache, reduced_teacher(switches), BUDGET_S))


def reduced_teacher(switches: Switches) -> torch.dtype | None:
    """What an arm's teacher computes in under autocast."""
    return torch.bfloat16 if switches.bf16 or switches.bf16_teacher else None


def loader(pair: Pair, switches: Switches, seed: int = 0, method: str = "kd") -> BatchLoader:
    """The engine's batches: padded crop, mirrored or not, with the views and the order that the method asks for."""
    wanted = needs_of(method)
    return BatchLoader(
        pair.part,
        batch_size=pair.batch_size,
        mean=numbers.MEAN,
        std=numbers.STD,
        device=pair.device,
        seed=seed,
        augmentation=Augmentation(crop_padding=numbers.PADDING, flip=True),
        shuffle=True,
        drop_last=True,
        views=wanted.views,
        channels_last=in_channels_last(pair, switches),
        sampler=wanted.sampler,
        compile=switches.compile,
    )


def needs_of(method: str) -> Needs:
    """What a method needs with its defaults."""
    cls = get_method(method)
    return cls.requires(cls.Params())


def spec_of(
    pair: Pair, switches: Switches, method: str = "kd", rate: float = numbers.RATE, epochs: int = 240
) -> ExperimentSpec:
    """The experiment whose steps are timed."""
    data = {"name": "digits", "image_size": pair.image_size}
    mapping = {
        "data": data,
        "student": pair.student,
        "method": method,
        "recipe": {
            "batch_size": pair.batch_size, "lr": rate, "momentum": numbers.MOMENTUM, "nesterov": False,
            "weight_decay": numbers.DECAY, "schedule": "constant", "warmup_epochs": 0.0, "epochs": epochs,
        },
        "runtime": {
            "channels_last": in_channels_last(pair, switches),
            "compile": switches.compile,
            "cuda_graph": switches.graph,
        },
    }  # fmt: skip
    if needs_of(method).teacher:
        mapping["teacher"] = {"spec": {"data": data, "student": pair.teacher, "method": "none"}}
    return ExperimentSpec.from_mapping(mapping)


def frozen(pair: Pair, switches: Switches) -> FrozenTeacher:
    """The pair's teacher as the loop wants it."""
    return FrozenTeacher(
        pair.new_teacher(),
        mean=numbers.MEAN,
        std=numbers.STD,
        batch_mean=numbers.MEAN,
        batch_std=numbers.STD,
        device=pair.device,
        channels_last=in_channels_last(pair, switches),
        fold=switches.fold,
        choose=chosen_ways(pair, switches),
        compile=switches.compile,
        reduced=reduced_teacher(switches),
    )


def trainer(
    pair: Pair,
    switches: Switches,
    batches: BatchLoader,
    method: str = "kd",
    rate: float = numbers.RATE,
    teacher: CachedTeacher | None = None,
    epochs: int = 240,
    **more: Any,
) -> Trainer:
    """The engine's own loop for the pair, with its live teacher unless one is given.

    It writes nothing as long as single steps are taken; for whole epochs give it a ``run`` and a ``validation``, among
    the further arguments of `Trainer`.
    """
    spec = spec_of(pair, switches, method, rate, epochs)
    settings: dict[str, Any] = {"run": NOWHERE} | more
    return assemble_trainer(
        spec,
        in_layout(spec, pair.new_student(), pair.device),
        teacher or (frozen(pair, switches) if spec.teacher is not None else None),
        batches,
        classes=pair.classes,
        samples=pair.images,
        device=pair.device,
        meta=loader(pair, switches, seed=1),
        reduced=torch.bfloat16 if switches.bf16 else None,
        **settings,
    )


def endless(batches: BatchLoader) -> Iterator[Batch]:
    """Epoch after epoch."""
    for epoch in itertools.count():
        yield from batches.epoch(epoch)


def engine_arm(name: str, pair: Pair, switches: Switches, method: str = "kd") -> Arm:
    """Batch and optimiser step, as the loop takes them."""
    batches = loader(pair, switches, method=method)
    return _stepping(name, trainer(pair, switches, batches, method), batches, pair)


def _stepping(name: str, loop: Trainer, batches: BatchLoader, pair: Pair) -> Arm:
    loop.module.train()
    stream = endless(batches)

    def step() -> None:
        loop.train_step(next(stream))
        loop.step = (loop.step + 1) % batches.steps_per_epoch

    return Arm(name, step, pair.batch_size)


def cached_arm(name: str, pair: Pair, switches: Switches, folder: Path, stack: ExitStack, stored: int = 0) -> Arm:
    """The engine with a teacher that caches its logits and reads those it has cached.

    Args:
        folder: for the table.
        stack: closes the table.
        stored: steps whose logits are cached before the arm is given out: none of them is computed within the clock.
    """
    batches = loader(pair, switches)
    quick = cached_teacher(name, pair, switches, batches, folder, stack)
    for batch in itertools.islice(endless(batches), stored):
        quick.outputs_for(batch)
    return _stepping(name, trainer(pair, switches, batches, teacher=quick), batches, pair)


def cached_teacher(
    name: str, pair: Pair, switches: Switches, batches: BatchLoader, folder: Path, stack: ExitStack
) -> CachedTeacher:
    """The pair's teacher with a table of its own, which the stack closes."""
    assert batches.view_count is not None
    key = TableKey("bench", "bench", pair.images, str(batches.augmentation), batches.view_count, pair.classes, name)
    return CachedTeacher(frozen(pair, switches), stack.enter_context(open_table(folder, key)))


def gather_arm(name: str, pair: Pair, compile: bool) -> Arm:
    """The data path alone."""
    stream = endless(loader(pair, Switches(compile=compile)))
    return Arm(name, lambda: next(stream), pair.batch_size)
