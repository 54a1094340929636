"""What a run will cost, from a few real training steps on made-up images. Nothing is written and nothing downloaded.

The steps are those of the loop itself, with the spec's networks, method, precision and batches; of a batch that is
computed in parts, a part is measured. Big networks are measured with a smaller batch, and time and memory are scaled up
linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kdengine import assembly
from kdengine.evaluation.cost import count, latency
from kdengine.forecast.compiling import known_compiling
from kdengine.forecast.made_up import data_counts, made_up, moved_to, teachers_of, trainer_of
from kdengine.forecast.memory import memory
from kdengine.forecast.no_trace import no_trace
from kdengine.forecast.steps import forward_seconds, read_share, teacher_seconds, time_steps
from kdengine.models.backbone import Backbone
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned
from kdengine.training.hardware import configure, pick_device
from kdengine.training.loop import Trainer
from kdengine.workspace import Workspace

# Seen on two CPU cores: a new process that imports torch and MLflow and opens both; and, after each epoch, the
# checkpoint, two files of weights and MLflow's rows.
STARTUP_S = 6.0
COMPILE_S = 60.0
"""Where it was not measured yet what compiling takes."""
EPOCH_OVERHEAD_S = 0.3
LATENCY_S = 0.2


@dataclass(frozen=True)
class NetworkCost:
    """A network as it would be deployed.

    Attributes:
        name: catalog name.
        parameters: number of weights.
        macs: multiply-accumulates for one image.
        bytes: size of weights and buffers as stored.
        milliseconds: of one image alone, on the device of the forecast.
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
        images_per_s: images that training gets through in a second.
        epoch_seconds: one epoch with its validation and checkpoint.
        seconds: the student's whole run: start, epochs, test.
        teacher_seconds: the same for its teacher; 0 without one, or when it is, or an equal one is, trained already.
        replay_share: share of the teacher's logits that are read from the cache, 0..1.
        replay_seconds: what that saves; taken off ``seconds`` and ``epoch_seconds`` already.
        memory_bytes: peak of training: weights, gradients, optimiser, EMA, what one step, or one part of it, keeps for
            its backward pass, teacher, images of the batch and those held on the device. On CUDA from the
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


def forecast(spec: ExperimentSpec, workspace: Workspace, device: str | None = None) -> Forecast:
    """Measures for a second or two what the experiment will cost. Random states, settings and files stay as they were.

    Args:
        spec: the experiment. Its data need not be here: then their published numbers are used.
        workspace: where teachers and decoded data are looked for.
        device: where to measure, as a spec names it; by default on the device of the spec. On the CPU a precision that
            only the GPU may have is left to the CPU's own choice.

    Raises:
        BadInput: networks, method, batch or device do not fit; DataError: one's own images cannot be found.
    """
    spec = pinned(spec, workspace)
    with no_trace():
        student = _measure(moved_to(spec, device), workspace)
    inner = spec.teacher.spec if spec.teacher else None
    if inner is None or assembly.find_finished(workspace, inner.fingerprint()):
        return student
    with no_trace():
        teacher = _measure(moved_to(inner, device), workspace)
    return _with_teacher_seconds(student, teacher.seconds)


def _with_teacher_seconds(student: Forecast, seconds: float) -> Forecast:
    return Forecast(**vars(student) | {"teacher_seconds": seconds})


def _measure(spec: ExperimentSpec, workspace: Workspace) -> Forecast:
    device = pick_device(spec.runtime.device)
    configure(spec.runtime, device)
    counts = data_counts(spec, workspace)
    steps_per_epoch = assembly.training_batches(spec, made_up(spec, counts), torch.device("cpu")).steps_per_epoch
    allocated = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    trainer = trainer_of(spec, workspace, counts, device)
    steps = time_steps(trainer, spec, counts)
    forward = forward_seconds(trainer, spec, device)
    compiled = known_compiling(spec, workspace) if spec.runtime.compile else None
    gain = compiled.eager_s / compiled.compiled_s if compiled is not None else 1.0
    step_seconds = steps.seconds * spec.recipe.batch_size / steps.batch_size / gain
    read = read_share(trainer, spec, workspace, counts)
    saved = read * steps_per_epoch * teacher_seconds(trainer, spec)
    epoch_seconds = steps_per_epoch * step_seconds - saved + counts.validation * forward + EPOCH_OVERHEAD_S
    start = (COMPILE_S if compiled is None else compiled.start_s) if spec.runtime.compile else 0.0
    # The test part is read with the last and with the best weights.
    seconds = STARTUP_S + start + spec.recipe.epochs * epoch_seconds + 2 * counts.test * forward
    teacher = next(iter(teachers_of(trainer)), None)
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
        memory_bytes=memory(trainer, spec, counts, steps, allocated),
    )


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
