"""Similarity-preserving distillation (Tung & Mori, ICCV 2019). The loss is in `kdengine.losses.sp`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from kdengine.losses import similarities, similarity_preserving
from kdengine.losses.relations import in_groups
from kdengine.methods._settings import group_setting, label_weight_setting, weight_setting
from kdengine.methods._stages import pair_stages
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, InspectedArray, Needs, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings, setting


class SpParams(Settings):
    """Parameters of similarity-preserving distillation."""

    ce_weight: float = label_weight_setting(source="RepDistiller and mdistiller")
    sp_weight: float = weight_setting(
        3000.0,
        title="Similarity weight",
        description="Weight of the difference of similarities, small by nature.",
        source="RepDistiller, -b 3000; mdistiller uses 3000 too",
        le=1e6,
        tune=(100.0, 30000.0),
    )
    features: Literal["last", "all", "embedding"] = setting(
        "last", title="Features", source="RepDistiller and mdistiller: the last map",
        description="Compare samples by the last maps, by those of every common resolution, or by the embeddings, "
        "which nets without maps have too.",
    )  # fmt: skip
    group: int = group_setting(source="the batch of RepDistiller and mdistiller, which are not split")


@register
class SimilarityPreserving(TaughtMethod):
    """L = ce_weight * CE + sp_weight * sum over features of the mean squared gap of the (B, B) similarities."""

    name = "sp"
    title = "Similarities (SP)"
    description = "Images of a batch that excite the teacher alike are to excite the student alike."
    when = "Where batches are large; for any pair of networks, no extra parameters."
    paper = "Tung, Mori: Similarity-Preserving Knowledge Distillation, ICCV 2019"
    family = "relations"
    mixes = True
    batch_relations = "compares how alike every two images of a batch are"
    Params = SpParams
    params: SpParams

    def __init__(self, params: SpParams, context: Context) -> None:
        super().__init__(params, context)
        self.stages: list[tuple[int, int]] = []
        if params.features != "embedding":
            pairs = [(pair.student, pair.teacher) for pair in pair_stages(context.student, self.teacher_shapes)]
            self.stages = pairs if params.features == "all" else [(-1, -1)]

    @classmethod
    def requires(cls, params: SpParams) -> Needs:
        """Stage maps of both nets, or their embeddings."""
        compared = "embedding" if params.features == "embedding" else "stages"
        return replace(super().requires(params), teacher=(compared,), student=("logits", compared))

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``similarity``."""
        pairs = self._features(student, teacher)
        gaps = [in_groups(similarity_preserving, self.params.group, *pair) for pair in pairs]
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "similarity": Term(torch.stack(gaps).sum(), self.params.sp_weight),
        }

    def _features(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """What is compared, shallow to deep: student's and teacher's."""
        maps = [(student.stages[s], teacher.stages[t]) for s, t in self.stages]
        return maps or [(student.embedding, teacher.embedding)]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student`` and ``teacher``: similarities (B, B) of the deepest features."""
        if teacher is None:
            return {}
        of_student, of_teacher = (similarities(feature) for feature in self._features(student, teacher)[-1])
        return {"student": InspectedArray(of_student, "graph"), "teacher": InspectedArray(of_teacher, "graph")}
