"""Soft-target distillation (Hinton et al., 2015). The loss is in `kdengine.losses.kd`."""

from __future__ import annotations

from torch import Tensor

from kdengine.fields import Settings, setting
from kdengine.losses import kd
from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register


class KdParams(Settings):
    """Parameters of soft-target distillation."""

    temperature: float = setting(
        4.0,
        title="Temperature",
        description="Softens both answers; higher shows more of how the teacher ranks the wrong classes.",
        source="RepDistiller and mdistiller, CIFAR-100 configurations",
        gt=0,
        le=100,
        tune=(1.0, 10.0),
        log=True,
    )
    ce_weight: float = setting(
        0.1,
        title="Label weight",
        description="Weight of the cross-entropy with the labels.",
        source="RepDistiller and mdistiller",
        ge=0,
        le=100,
        tune=(0.05, 1.0),
        log=True,
    )
    kd_weight: float = setting(
        0.9,
        title="Teacher weight",
        description="Weight of the divergence from the teacher's softened answer.",
        source="RepDistiller and mdistiller",
        ge=0,
        le=100,
        tune=(0.1, 10.0),
        log=True,
    )


@register
class SoftTargets(Method):
    """L = ce_weight * CE(labels) + kd_weight * KL(teacher || student) at temperature T, x T²."""

    name = "kd"
    title = "Soft targets (KD)"
    description = "The student imitates the teacher's softened class probabilities."
    paper = "Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015"
    family = "logits"
    mixes = True
    Params = KdParams
    params: KdParams

    @classmethod
    def requires(cls, params: KdParams) -> Needs:
        """The teacher's logits."""
        return Needs(teacher=("logits",), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``kd``."""
        assert teacher is not None
        taught = teacher(batch.image).logits
        logits = student(batch.image).logits
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), self.params.ce_weight),
            "kd": Term(kd(logits, taught, self.params.temperature), self.params.kd_weight),
        }
