"""Decoupled knowledge distillation (Zhao et al., CVPR 2022). The loss is in `kdengine.losses.dkd`."""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.fields import Settings, setting
from kdengine.losses import dkd
from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register


class DkdParams(Settings):
    """Parameters of decoupled distillation."""

    temperature: float = setting(
        4.0,
        title="Temperature",
        description="Softens both answers before they are compared.",
        source="mdistiller, CIFAR-100 configurations",
        gt=0,
        le=100,
        tune=(1.0, 10.0),
        log=True,
    )
    ce_weight: float = setting(
        1.0,
        title="Label weight",
        description="Weight of the cross-entropy with the labels.",
        source="mdistiller, CIFAR-100 configurations",
        ge=0,
        le=100,
    )
    alpha: float = setting(
        1.0,
        title="Target weight",
        description="Weight of what the teacher says of the true class against all others.",
        source="mdistiller, CIFAR-100 configurations",
        ge=0,
        le=100,
        tune=(0.25, 4.0),
        log=True,
    )
    beta: float = setting(
        8.0,
        title="Non-target weight",
        description="Weight of how the teacher ranks the wrong classes; larger for more confident teachers.",
        source="mdistiller: 8 for most pairs, 6 for WRN and VGG pairs, 2 for resnet56 -> resnet20",
        ge=0,
        le=100,
        tune=(0.5, 16.0),
        log=True,
    )
    warmup: float = setting(
        1 / 12,
        title="Warm-up",
        description="Share of the run in which the distillation terms rise linearly to their weight.",
        source="mdistiller: 20 of 240 epochs",
        ge=0,
        le=1,
        tune=(0.0, 0.5),
    )


@register
class Decoupled(Method):
    """L = ce_weight * CE + w(epoch) * (alpha * target part + beta * non-target part)."""

    name = "dkd"
    title = "Decoupled (DKD)"
    description = "Target and non-target knowledge of the teacher are taught apart, each with its own weight."
    paper = "Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation, CVPR 2022"
    family = "logits"
    Params = DkdParams
    params: DkdParams

    @classmethod
    def requires(cls, params: DkdParams) -> Needs:
        """The teacher's logits."""
        return Needs(teacher=("logits",), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``target`` and ``non_target``."""
        assert teacher is not None
        taught = teacher(batch.image).logits
        logits = student(batch.image).logits
        target, non_target = dkd(logits, taught, batch.target, self.params.temperature, 1.0, 1.0)
        rise = warm_up(clock, self.params.warmup * self.context.epochs)
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), self.params.ce_weight),
            "target": Term(target, self.params.alpha * rise),
            "non_target": Term(non_target, self.params.beta * rise),
        }


def warm_up(clock: Tensor, epochs: float) -> Tensor:
    """min((whole epochs done + 1) / ``epochs``, 1), a scalar tensor; 1 when ``epochs`` is 0.

    Counts epochs from 1 as mdistiller does, so that the first epoch already teaches a little.
    """
    if epochs <= 0:
        return torch.ones_like(clock)
    return ((clock.floor() + 1) / epochs).clamp(max=1.0)
