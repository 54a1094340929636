"""Relational knowledge distillation (Park et al., CVPR 2019). The losses are in `kdengine.losses.rkd`."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from kdengine.losses import kd, rkd_angle, rkd_distance
from kdengine.losses.relations import in_groups
from kdengine.methods._settings import group_setting, label_weight_setting, temperature_setting, weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Needs, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings


class RkdParams(Settings):
    """Parameters of relational distillation."""

    ce_weight: float = label_weight_setting(source="RepDistiller and mdistiller")
    distance_weight: float = weight_setting(
        25.0,
        title="Distance weight",
        description="Weight of how far the samples of a batch lie from each other.",
        source="RepDistiller and mdistiller",
        le=1e4,
        tune=(2.5, 250.0),
    )
    angle_weight: float = weight_setting(
        50.0,
        title="Angle weight",
        description="Weight of the angles that the samples of a batch form.",
        source="RepDistiller and mdistiller",
        le=1e4,
        tune=(5.0, 500.0),
    )
    kd_weight: float = weight_setting(
        0.0,
        title="Soft-target weight",
        description="Weight of plain soft targets beside the relations; 0 leaves them out.",
        source="RepDistiller and mdistiller run it without; RepDistiller's combinations use 1",
        tune=(0.0, 4.0),
    )
    temperature: float = temperature_setting(
        description="Softens the logits of both networks for the soft targets; without them it does nothing.",
        source="RepDistiller and mdistiller, CIFAR-100 configurations",
        tune=None,
        advanced=True,
    )
    group: int = group_setting(source="the batch of RepDistiller and mdistiller, which are not split")


@register
class Relational(TaughtMethod):
    """L = ce_weight * CE + kd_weight * KD + distance_weight * distances + angle_weight * angles."""

    name = "rkd"
    title = "Relations (RKD)"
    description = "The samples of a batch lie to each other as the teacher's embeddings do: distances and angles."
    when = "Where embeddings are what is deployed, as for retrieval."
    paper = "Park, Kim, Lu, Cho: Relational Knowledge Distillation, CVPR 2019"
    family = "relations"
    mixes = True
    student_outputs = ("logits", "embedding")
    batch_relations = "compares the distances and angles between the images of a batch"
    Params = RkdParams
    params: RkdParams

    @classmethod
    def requires(cls, params: RkdParams) -> Needs:
        """Embeddings of both nets; the teacher's logits where soft targets are on."""
        teacher = ("logits", "embedding") if params.kd_weight > 0 else ("embedding",)
        return replace(super().requires(params), teacher=teacher)

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``distance`` and ``angle``, and ``kd`` where its weight is above 0."""
        params = self.params
        embeddings = student.embedding, teacher.embedding
        terms = {
            "ce": Term(self.cross_entropy(student.logits, batch.target), params.ce_weight),
            "distance": Term(in_groups(rkd_distance, params.group, *embeddings), params.distance_weight),
            "angle": Term(in_groups(rkd_angle, params.group, *embeddings), params.angle_weight),
        }
        if params.kd_weight > 0:
            terms["kd"] = Term(kd(student.logits, teacher.logits, params.temperature), params.kd_weight)
        return terms
