"""The engine as an arm: its own loop, loader and teacher, each switch on or off."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
        fold: the teacher's normalisations folded into its convolutions.
        compile: student with loss, teacher, and gather go through torch.compile.
        bf16: forward passes under bfloat16 autocast.
        graph: the step recorded as a CUDA graph; nothing on a CPU.
    """

    channels_last: bool = True
    fold: bool = True
    compile: bool = False
    bf16: bool = False
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


def spec_of(pair: Pair, switches: Switches, method: str = "kd", rate: float = numbers.RATE) -> ExperimentSpec:
    """The experiment whose steps are timed."""
    data = {"name": "digits", "image_size": pair.image_size}
    mapping = {
        "data": data,
        "student": pair.student,
        "method": method,
        "recipe": {
            "batch_size": pair.batch_size, "lr": rate, "momentum": numbers.MOMENTUM, "nesterov": False,
            "weight_decay": numbers.DECAY, "schedule": "constant", "warmup_epochs": 0.0, "epochs": 240,
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
        compile=switches.compile,
    )


def trainer(
    pair: Pair, switches: Switches, batches: BatchLoader, method: str = "kd", rate: float = numbers.RATE
) -> Trainer:
    """The engine's own loop for the pair; it writes nothing as long as single steps are taken."""
    layout = torch.channels_last if switches.channels_last else torch.contiguous_format
    student: Backbone = pair.new_student().to(pair.device, memory_format=layout)  # type: ignore[call-overload]
    spec = spec_of(pair, switches, method, rate)
    teacher = frozen(pair, switches) if spec.teacher is not None else None
    guide = teacher.shapes() if teacher is not None else None
    context = Context(pair.classes, pair.pictures, student.shapes(), guide)
    cls: type[Method] = get_method(method)
    return Trainer(
        spec=spec,
        student=student,
        method=cls.build(spec.method.params, context).to(pair.device),
        teacher=teacher,
        train=batches,
        validation=lambda: iter(()),
        run=NOWHERE,
        device=pair.device,
        meta=loader(pair, switches, seed=1),
        bf16=switches.bf16,
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


def replay_arms(pair: Pair, switches: Switches, folder: Path, steps: int) -> Iterator[tuple[Arm, Callable[[], None]]]:
    """The engine with stored answers of the teacher, and the engine while it stores them; each with what closes it.

    Args:
        folder: for the tables.
        steps: that will be taken in all; the first arm's answers to them are stored before it is given out, so that
            none of them is computed within the clock.
    """
    for name, filled in (("engine, replayed", True), ("engine, filling", False)):
        batches = loader(pair, switches)
        assert batches.view_count is not None
        key = TableKey(
            "bench", "bench", pair.pictures, str(batches.augmentation), batches.view_count, pair.classes, name
        )
        opened = open_table(folder, key)
        quick = ReplayedTeacher(frozen(pair, switches), opened.__enter__(), switches.bf16)
        if filled:
            for batch in itertools.islice(endless(batches), steps):
                quick.answers(batch)
        loop = trainer(pair, switches, batches)
        loop.teacher = quick
        yield _stepping(name, loop, batches, pair), lambda opened=opened: opened.__exit__(None, None, None)  # type: ignore[misc]


def gather_arm(name: str, pair: Pair, compile: bool) -> Arm:
    """The data path alone."""
    stream = endless(loader(pair, Switches(compile=compile)))
    return Arm(name, lambda: next(stream), pair.batch_size)
