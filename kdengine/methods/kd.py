"""Soft-target distillation (Hinton et al., 2015). The loss is in `kdengine.losses.kd`."""

from __future__ import annotations

from torch import Tensor

from kdengine.losses import kd
from kdengine.methods._settings import label_weight_setting, temperature_setting, weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings


class KdParams(Settings):
    """Parameters of soft-target distillation."""

    temperature: float = temperature_setting(
        description="Softens both networks' logits; higher shows more of how the teacher ranks the wrong classes.",
        source="RepDistiller and mdistiller, CIFAR-100 configurations",
    )
    ce_weight: float = label_weight_setting(0.1, source="RepDistiller and mdistiller", tune=(0.05, 1.0))
    kd_weight: float = weight_setting(
        0.9,
        title="Teacher weight",
        description="Weight of the divergence from the teacher's softened probabilities.",
        source="RepDistiller and mdistiller",
        tune=(0.1, 10.0),
    )


@register
class SoftTargets(TaughtMethod):
    """L = ce_weight * CE(labels) + kd_weight * KL(teacher || student) at temperature T, x T²."""

    name = "kd"
    title = "Soft targets (KD)"
    description = "The student imitates the teacher's softened class probabilities."
    when = "First of all: cheap, robust, for any pair of networks."
    paper = "Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015"
    family = "logits"
    mixes = True
    batch_relations = ""
    Params = KdParams
    params: KdParams

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``kd``."""
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "kd": Term(kd(student.logits, teacher.logits, self.params.temperature), self.params.kd_weight),
        }
