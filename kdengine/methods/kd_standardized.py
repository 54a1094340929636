"""Soft targets of standardised logits (Sun et al., CVPR 2024). The loss is in `kdengine.losses.standardised`."""

from __future__ import annotations

from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.fields import Settings, setting
from kdengine.losses import kd_standardised
from kdengine.methods.base import BatchLike, Context, Method, Needs, Network, Term, register


class StandardizedParams(Settings):
    """Parameters of soft targets with logit standardisation."""

    temperature: float = setting(
        2.0,
        title="Base temperature",
        description="Softens both answers after each has been brought to standard deviation 1.",
        source="sunshangquan/logit-standardization-KD, CIFAR-100 (2, for some pairs 3)",
        gt=0,
        le=100,
        tune=(1.0, 5.0),
        log=True,
    )
    ce_weight: float = setting(
        0.1,
        title="Label weight",
        description="Weight of the cross-entropy with the labels.",
        source="sunshangquan/logit-standardization-KD",
        ge=0,
        le=100,
        tune=(0.05, 1.0),
        log=True,
    )
    kd_weight: float = setting(
        9.0,
        title="Teacher weight",
        description="Weight of the divergence from the teacher's standardised, softened answer.",
        source="sunshangquan/logit-standardization-KD",
        ge=0,
        le=100,
        tune=(1.0, 30.0),
        log=True,
    )


@register
class StandardizedSoftTargets(Method):
    """L = ce_weight * CE + kd_weight * KL of z-scored logits at the base temperature, x T²."""

    name = "kd_standardized"
    title = "Soft targets, standardised (LS-KD)"
    description = "The student imitates the shape of the teacher's answer, freed of its scale by a z-score."
    paper = "Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation, CVPR 2024"
    family = "logits"
    mixes = True
    Params = StandardizedParams
    params: StandardizedParams

    def __init__(self, params: StandardizedParams, context: Context) -> None:
        super().__init__(params, context)
        if context.classes == 2:
            message = (
                "found two classes, whose standardised logits are +0.71 and -0.71 whatever the net says, so that "
                "nothing can be taught; use kd or dkd"
            )
            raise BadInput(Problem("method", message))

    @classmethod
    def requires(cls, params: StandardizedParams) -> Needs:
        """The teacher's logits."""
        return Needs(teacher=("logits",), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``kd``."""
        assert teacher is not None
        taught = teacher(batch.image).logits
        logits = student(batch.image).logits
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), self.params.ce_weight),
            "kd": Term(kd_standardised(logits, taught, self.params.temperature), self.params.kd_weight),
        }
