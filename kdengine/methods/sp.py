"""Similarity-preserving distillation (Tung & Mori, ICCV 2019). The loss is in `kdengine.losses.sp`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdengine.fields import Settings, setting
from kdengine.losses import similarities, similarity_preserving
from kdengine.losses.relations import in_groups
from kdengine.methods.base import (
    BatchLike,
    Context,
    InspectedArray,
    Method,
    Needs,
    Network,
    Outputs,
    Term,
    pair_stages,
    register,
)


class SpParams(Settings):
    """Parameters of similarity-preserving distillation."""

    ce_weight: float = setting(
        1.0, title="Label weight", description="Weight of the cross-entropy with the labels.",
        source="RepDistiller and mdistiller", ge=0, le=100,
    )  # fmt: skip
    sp_weight: float = setting(
        3000.0, title="Similarity weight", description="Weight of the difference of similarities, small by nature.",
        source="RepDistiller, -b 3000; mdistiller uses 3000 too", ge=0, le=1e6, tune=(100.0, 30000.0), log=True,
    )  # fmt: skip
    features: Literal["last", "all", "embedding"] = setting(
        "last", title="Features", source="RepDistiller and mdistiller: the last map",
        description="Compare samples by the last maps, by those of every common resolution, or by the embeddings, "
        "which nets without maps have too.",
    )  # fmt: skip
    group: int = setting(
        64, title="Group", unit="samples", ge=8, le=8192, advanced=True,
        source="the batch of RepDistiller and mdistiller, which are not split",
        description="Relate at most so many samples of a batch to each other; larger batches are split.",
    )  # fmt: skip


@register
class SimilarityPreserving(Method):
    """L = ce_weight * CE + sp_weight * sum over features of the mean squared gap of the (B, B) similarities."""

    name = "sp"
    title = "Similarities (SP)"
    description = "Pictures of a batch that excite the teacher alike are to excite the student alike."
    paper = "Tung, Mori: Similarity-Preserving Knowledge Distillation, ICCV 2019"
    family = "relations"
    mixes = True
    Params = SpParams
    params: SpParams

    def __init__(self, params: SpParams, context: Context) -> None:
        super().__init__(params, context)
        assert context.teacher is not None
        self.stages: list[tuple[int, int]] = []
        if params.features != "embedding":
            pairs = [(pair.student, pair.teacher) for pair in pair_stages(context.student, context.teacher)]
            self.stages = pairs if params.features == "all" else [(-1, -1)]

    @classmethod
    def requires(cls, params: SpParams) -> Needs:
        """Stage maps of both nets, or their embeddings."""
        wanted = "embedding" if params.features == "embedding" else "stages"
        compares = "compares how alike every two images of a batch are"
        return Needs(teacher=(wanted,), student=("logits", wanted), batch_relations=compares)

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``similarity``."""
        assert teacher is not None
        guide = teacher(batch.image)
        own = student(batch.image)
        gaps = [in_groups(similarity_preserving, self.params.group, *pair) for pair in self._features(own, guide)]
        return {
            "ce": Term(self.cross_entropy(own.logits, batch.target), self.params.ce_weight),
            "similarity": Term(torch.stack(gaps).sum(), self.params.sp_weight),
        }

    def _features(self, own: Outputs, guide: Outputs) -> list[tuple[Tensor, Tensor]]:
        """What is compared, shallow to deep: student's and teacher's."""
        maps = [(own.stages[s], guide.stages[t]) for s, t in self.stages]
        return maps or [(own.embedding, guide.embedding)]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student`` and ``teacher``: similarities (B, B) of the deepest features."""
        if teacher is None:
            return {}
        own, guide = (similarities(feature) for feature in self._features(student, teacher)[-1])
        return {"student": InspectedArray(own, "graph"), "teacher": InspectedArray(guide, "graph")}
