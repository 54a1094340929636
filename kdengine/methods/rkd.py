"""Relational knowledge distillation (Park et al., CVPR 2019). The losses are in `kdengine.losses.rkd`."""

from __future__ import annotations

from torch import Tensor

from kdengine.fields import Settings, setting
from kdengine.losses import kd, rkd_angle, rkd_distance
from kdengine.losses.relations import in_groups
from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register


class RkdParams(Settings):
    """Parameters of relational distillation."""

    ce_weight: float = setting(
        1.0,
        title="Label weight",
        description="Weight of the cross-entropy with the labels.",
        source="RepDistiller and mdistiller",
        ge=0,
        le=100,
    )
    distance_weight: float = setting(
        25.0,
        title="Distance weight",
        description="Weight of how far the samples of a batch lie from each other.",
        source="RepDistiller and mdistiller",
        ge=0,
        le=1e4,
        tune=(2.5, 250.0),
        log=True,
    )
    angle_weight: float = setting(
        50.0,
        title="Angle weight",
        description="Weight of the angles that the samples of a batch form.",
        source="RepDistiller and mdistiller",
        ge=0,
        le=1e4,
        tune=(5.0, 500.0),
        log=True,
    )
    kd_weight: float = setting(
        0.0,
        title="Soft-target weight",
        description="Weight of plain soft targets beside the relations; 0 leaves them out.",
        source="RepDistiller and mdistiller run it without; RepDistiller's combinations use 1",
        ge=0,
        le=100,
        tune=(0.0, 4.0),
    )
    temperature: float = setting(
        4.0,
        title="Temperature",
        description="Softens both answers for the soft targets; without them it does nothing.",
        source="RepDistiller and mdistiller, CIFAR-100 configurations",
        gt=0,
        le=100,
        advanced=True,
    )
    group: int = setting(
        64, title="Group", unit="samples", ge=8, le=8192, advanced=True,
        source="the batch of RepDistiller and mdistiller, which are not split",
        description="Relate at most so many samples of a batch to each other; larger batches are split.",
    )  # fmt: skip


@register
class Relational(Method):
    """L = ce_weight * CE + kd_weight * KD + distance_weight * distances + angle_weight * angles."""

    name = "rkd"
    title = "Relations (RKD)"
    description = "The samples of a batch lie to each other as the teacher's embeddings do: distances and angles."
    paper = "Park, Kim, Lu, Cho: Relational Knowledge Distillation, CVPR 2019"
    family = "relations"
    mixes = True
    Params = RkdParams
    params: RkdParams

    @classmethod
    def requires(cls, params: RkdParams) -> Needs:
        """Embeddings of both nets; the teacher's logits where soft targets are on."""
        teacher = ("logits", "embedding") if params.kd_weight > 0 else ("embedding",)
        compares = "compares the distances and angles between the images of a batch"
        return Needs(teacher=teacher, student=("logits", "embedding"), batch_relations=compares)

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``distance`` and ``angle``, and ``kd`` where its weight is above 0."""
        assert teacher is not None
        params = self.params
        guide = teacher(batch.image)
        own = student(batch.image)
        embeddings = own.embedding, guide.embedding
        terms = {
            "ce": Term(self.cross_entropy(own.logits, batch.target), params.ce_weight),
            "distance": Term(in_groups(rkd_distance, params.group, *embeddings), params.distance_weight),
            "angle": Term(in_groups(rkd_angle, params.group, *embeddings), params.angle_weight),
        }
        if params.kd_weight > 0:
            terms["kd"] = Term(kd(own.logits, guide.logits, params.temperature), params.kd_weight)
        return terms
