"""The engine as an arm: its own loop, loader and teacher, each switch on or off."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdengine.bench import pair as numbers
from kdengine.bench.pair import Pair
from kdengine.bench.rounds import Arm
from kdengine.data import Augmentation
from kdengine.data.loader import Batch, BatchLoader
from kdengine.methods.base import Context, Method, Needs, get_method
from kdengine.models import Backbone
from kdengine.rundir import RunDirectory
from kdengine.spec import ExperimentSpec
from kdengine.training.loop import Trainer
from kdengine.training.replay import ReplayedTeacher, TableKey, open_table
from kdengine.training.teacher import FrozenTeacher

NOWHERE = RunDirectory(Path("bench-writes-nothing"))


@dataclass(frozen=True)
class Switches:
    """What can be switched off in turn.

    Attributes:
        channels_last: memory layout of nets and pictures.
        fold: the teacher's normalisations folded into its convolutions; without it ``winograd`` is off too.
        winograd: its wide convolutions computed with a quarter of the products; on a CPU in float32.
        compile: student with loss, teacher, and gather go through torch.compile.
        bf16: forward passes of student and teacher under bfloat16 autocast.
        bf16_teacher: those of the teacher.
        graph: the step recorded as a CUDA graph; nothing on a CPU.
    """

    channels_last: bool = True
    fold: bool = True
    winograd: bool = True
    compile: bool = False
    bf16: bool = False
    bf16_teacher: bool = False
    graph: bool = False


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
        channels_last=switches.channels_last,
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
            "channels_last": switches.channels_last, "compile": switches.compile, "cuda_graph": switches.graph,
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
        channels_last=switches.channels_last,
        fold=switches.fold,
        winograd=switches.winograd,
        compile=switches.compile,
        reduced=torch.bfloat16 if switches.bf16 or switches.bf16_teacher else None,
    )


def trainer(
    pair: Pair,
    switches: Switches,
    batches: BatchLoader,
    method: str = "kd",
    rate: float = numbers.RATE,
    teacher: ReplayedTeacher | None = None,
    epochs: int = 240,
    **more: Any,
) -> Trainer:
    """The engine's own loop for the pair, with its live teacher unless one is given.

    It writes nothing as long as single steps are taken; for whole epochs give it a ``run`` and a ``validation``, among
    the further arguments of `Trainer`.
    """
    layout = torch.channels_last if switches.channels_last else torch.contiguous_format
    student: Backbone = pair.new_student().to(pair.device, memory_format=layout)  # type: ignore[call-overload]
    spec = spec_of(pair, switches, method, rate, epochs)
    guide = teacher or (frozen(pair, switches) if spec.teacher is not None else None)
    context = Context(pair.classes, pair.pictures, student.shapes(), guide.shapes() if guide is not None else None)
    cls: type[Method] = get_method(method)
    settings: dict[str, Any] = {"validation": lambda: iter(()), "run": NOWHERE} | more
    return Trainer(
        spec=spec,
        student=student,
        method=cls.build(spec.method.params, context).to(pair.device),
        teacher=guide,
        train=batches,
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


def replay_arm(name: str, pair: Pair, switches: Switches, folder: Path, stack: ExitStack, stored: int = 0) -> Arm:
    """The engine with a teacher that stores its answers and reads those it has stored.

    Args:
        folder: for the table.
        stack: closes the table.
        stored: steps whose answers are stored before the arm is given out: none of them is computed within the clock.
    """
    batches = loader(pair, switches)
    assert batches.view_count is not None
    key = TableKey("bench", "bench", pair.pictures, str(batches.augmentation), batches.view_count, pair.classes, name)
    quick = ReplayedTeacher(frozen(pair, switches), stack.enter_context(open_table(folder, key)))
    for batch in itertools.islice(endless(batches), stored):
        quick.answers(batch)
    return _stepping(name, trainer(pair, switches, batches, teacher=quick), batches, pair)


def gather_arm(name: str, pair: Pair, compile: bool) -> Arm:
    """The data path alone."""
    stream = endless(loader(pair, Switches(compile=compile)))
    return Arm(name, lambda: next(stream), pair.batch_size)
