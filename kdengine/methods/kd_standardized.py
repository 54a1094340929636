"""Soft targets of standardized logits (Sun et al., CVPR 2024). The loss is in `kdengine.losses.standardized`."""

from __future__ import annotations

from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.losses import kd_standardized
from kdengine.methods._settings import label_weight_setting, temperature_setting, weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings


class StandardizedParams(Settings):
    """Parameters of soft targets with logit standardization."""

    temperature: float = temperature_setting(
        2.0,
        title="Base temperature",
        description="Softens the logits of both networks after they have been brought to standard deviation 1.",
        source="sunshangquan/logit-standardization-KD, CIFAR-100 (2, for some pairs 3)",
        tune=(1.0, 5.0),
    )
    ce_weight: float = label_weight_setting(0.1, source="sunshangquan/logit-standardization-KD", tune=(0.05, 1.0))
    kd_weight: float = weight_setting(
        9.0,
        title="Teacher weight",
        description="Weight of the divergence from the probabilities of the teacher's standardized logits.",
        source="sunshangquan/logit-standardization-KD",
        tune=(1.0, 30.0),
    )


@register
class StandardizedSoftTargets(TaughtMethod):
    """L = ce_weight * CE + kd_weight * KL of z-scored logits at the base temperature, x T²."""

    name = "kd_standardized"
    title = "Soft targets, standardized (LS-KD)"
    description = "The student imitates the shape of the teacher's logits, freed of their scale by a z-score."
    when = "Where the logits of teacher and student differ much in scale."
    paper = "Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation, CVPR 2024"
    family = "logits"
    mixes = True
    batch_relations = ""
    Params = StandardizedParams
    params: StandardizedParams

    def __init__(self, params: StandardizedParams, context: Context) -> None:
        super().__init__(params, context)
        if context.classes == 2:
            message = (
                "found two classes, whose standardized logits are +0.71 and -0.71 whatever the net says, so that "
                "nothing can be learnt; use kd"
            )
            raise BadInput(Problem("method", message))

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``kd``."""
        divergence = kd_standardized(student.logits, teacher.logits, self.params.temperature)
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "kd": Term(divergence, self.params.kd_weight),
        }
