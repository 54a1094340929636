"""Class-wise self-distillation (Yun et al., CVPR 2020).

Official code: alinlab/cs-kd, train.py. Its batches hold B images and B partners more; ours are B / 2 pairs, so that
an epoch shows every image once, as learner or as partner. Deviations in the loss: none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.losses import kd
from kdengine.methods._settings import temperature_setting, weight_setting
from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register
from kdengine.spec.fields import Settings


class CsKdParams(Settings):
    """Parameters of class-wise self-distillation."""

    temperature: float = temperature_setting(
        description="Softens the logits for both images of a pair.", source="alinlab/cs-kd"
    )
    class_weight: float = weight_setting(
        title="Class weight",
        description="Weight of the gap between the predictions for two images of a class.",
        source="alinlab/cs-kd: 1 on CIFAR-100, 3 for fine-grained classes",
        tune=(0.25, 8.0),
    )


@register
class ClassWise(Method):
    """L = CE(x) + class_weight * T² KL(prediction for x' of the same class, detached || prediction for x)."""

    name = "cs_kd"
    title = "Class-wise (CS-KD)"
    description = "The prediction for an image is to equal that for another image of its class; no teacher is needed."
    when = "Without a teacher, where every class has many images."
    paper = "Yun, Park, Lee, Shin: Regularizing Class-Wise Predictions via Self-Knowledge Distillation, CVPR 2020"
    family = "self-distillation"
    Params = CsKdParams
    params: CsKdParams

    @classmethod
    def requires(cls, params: CsKdParams) -> Needs:
        """Batches whose second half holds partners of the first."""
        return Needs(sampler="same-class-pairs", batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``classwise``, both over the first half of the batch."""
        half = len(batch.image) // 2
        logits = student(batch.image[:half]).logits
        with torch.no_grad():
            partners = student(batch.image[half:]).logits
        return {
            "ce": Term(self.cross_entropy(logits, batch.target[:half]), 1.0),
            "classwise": Term(kd(logits, partners, self.params.temperature), self.params.class_weight),
        }
