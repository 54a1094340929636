"""What a step computes with each method, counted and not timed: so methods are compared for one's own networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdengine.data.batches.loader import Batch
from kdengine.errors import KdError
from kdengine.forecast.made_up import batches_of, data_counts, trainer_of
from kdengine.forecast.no_trace import no_trace
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned
from kdengine.training.loop import Trainer
from kdengine.workspace import Workspace

PLAIN = "none"
BATCH, IMAGES = 4, 64
CPU = torch.device("cpu")


class Relative(NamedTuple):
    """What a method costs beside plain training of the same student.

    Attributes:
        ratio: floating-point operations of a step, teacher included, over those of plain training; None where the
            method does not go with these networks or data.
        why: why it does not, "" where it does.
    """

    ratio: float | None
    why: str = ""


def relative_costs(experiment: Mapping[str, Any], teacher: str, workspace: Workspace) -> dict[str, Relative]:
    """What every registered method costs with these networks and its own defaults, beside plain training.

    Counted are convolutions and matrix products, forward and backward, of one step with a few made-up images; passes
    over maps without either are not (see docs/speed.md, where the counts are compared with measured times).

    Args:
        experiment: data, student and recipe, as a spec's mapping.
        teacher: a name as a spec takes it, for the methods that need one; "" for none.
        workspace: where a trained teacher is looked for.

    Raises:
        BadInput: plain training itself is refused.
    """
    with no_trace():
        plain = _operations(experiment, PLAIN, "", workspace)
        return {name: _relative(experiment, name, teacher, workspace, plain) for name in METHODS.names()}


def _relative(experiment: Mapping[str, Any], method: str, teacher: str, workspace: Workspace, plain: int) -> Relative:
    try:
        return Relative(round(_operations(experiment, method, teacher, workspace) / plain, 3))
    except KdError as error:
        return Relative(None, str(error))


def _operations(experiment: Mapping[str, Any], method: str, teacher: str, workspace: Workspace) -> int:
    """Those of one step with a method's defaults."""
    entry: Any = METHODS.get(method)
    mapping = {key: value for key, value in experiment.items() if key not in ("method", "teacher")}
    mapping |= {"method": {"name": method}, "runtime": {"device": "cpu", "precision": "fp32"}}
    if entry.requires(entry.Params()).teacher:
        mapping["teacher"] = teacher
    spec = pinned(ExperimentSpec.from_mapping(mapping), workspace)
    counts = data_counts(spec, workspace)
    counts = counts._replace(train=min(counts.train, max(IMAGES, 4 * counts.classes)))
    trainer = trainer_of(spec, workspace, counts, CPU)
    trainer.train_batches = batches_of(spec, counts, BATCH, CPU)
    trainer.module.train()
    return step_operations(trainer, next(trainer.train_batches.epoch(0)))


def step_operations(trainer: Trainer, batch: Batch) -> int:
    """Floating-point operations of convolutions and matrix products in one step, both passes, teacher and all."""
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(batch)
    return int(counter.get_total_flops())
