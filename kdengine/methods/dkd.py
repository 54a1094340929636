"""Decoupled knowledge distillation (Zhao et al., CVPR 2022). The loss is in `kdengine.losses.dkd`."""

from __future__ import annotations

from torch import Tensor

from kdengine.losses import dkd
from kdengine.methods._settings import label_weight_setting, temperature_setting, warm_up_setting, weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods._warm_up import warm_up
from kdengine.methods.base import BatchLike, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings


class DkdParams(Settings):
    """Parameters of decoupled distillation."""

    temperature: float = temperature_setting(source="mdistiller, CIFAR-100 configurations")
    ce_weight: float = label_weight_setting(source="mdistiller, CIFAR-100 configurations")
    alpha: float = weight_setting(
        title="Target weight",
        description="Weight of what the teacher says of the true class against all others.",
        source="mdistiller, CIFAR-100 configurations",
        tune=(0.25, 4.0),
    )
    beta: float = weight_setting(
        8.0,
        title="Non-target weight",
        description="Weight of how the teacher ranks the wrong classes; larger for more confident teachers.",
        source="mdistiller: 8 for most pairs, 6 for WRN and VGG pairs, 2 for resnet56 -> resnet20",
        tune=(0.5, 16.0),
        short_runs=1.0,
    )
    warmup: float = warm_up_setting(source="mdistiller: 20 of 240 epochs")


@register
class Decoupled(TaughtMethod):
    """L = ce_weight * CE + w(epoch) * (alpha * target part + beta * non-target part)."""

    name = "dkd"
    title = "Decoupled (DKD)"
    description = "Target and non-target knowledge of the teacher are distilled apart, each with its own weight."
    when = "Where the teacher is sure of the right class and soft targets say little about the others."
    paper = "Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation, CVPR 2022"
    family = "logits"
    batch_relations = ""
    Params = DkdParams
    params: DkdParams

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``target`` and ``non_target``."""
        params = self.params
        target, non_target = dkd(student.logits, teacher.logits, batch.target, params.temperature, 1.0, 1.0)
        rise = warm_up(clock, params.warmup * self.context.epochs)
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), params.ce_weight),
            "target": Term(target, params.alpha * rise),
            "non_target": Term(non_target, params.beta * rise),
        }
