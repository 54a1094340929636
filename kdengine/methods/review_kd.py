"""Knowledge review (Chen et al., CVPR 2021). The loss is in `kdengine.losses.review_kd`, the parts in
`kdengine.models.blocks.review`.

Public code: dvlab-research/ReviewKD; megvii-research/mdistiller, distillers/ReviewKD.py. Deviations: the teacher's maps
come after activation, where the public codes take them before it; stages are paired by resolution, where the codes list
them by hand for each pair of nets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdengine.fields import Settings, setting
from kdengine.losses import attention_map, hierarchical_context
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
from kdengine.methods.dkd import warm_up
from kdengine.models.backbone import evaluating
from kdengine.models.blocks.review import ReviewFusion


class ReviewKdParams(Settings):
    """Parameters of knowledge review."""

    ce_weight: float = setting(
        1.0, title="Label weight", description="Weight of the cross-entropy with the labels.",
        source="ReviewKD and mdistiller", ge=0, le=100,
    )  # fmt: skip
    review_weight: float = setting(
        5.0, title="Review weight", description="Weight of the gap between reviewed and teacher's maps.",
        source="ReviewKD: 5 for most pairs on CIFAR-100, 0.6 to 8 for others; mdistiller 1", ge=0, le=1000,
        tune=(0.5, 10.0), log=True,
    )  # fmt: skip
    width: int = setting(
        512, title="Largest width", source="mdistiller", ge=4, le=4096, advanced=True,
        description="Channels passed from step to step: as many as the student's embedding has, at most so many.",
    )  # fmt: skip
    warmup: float = setting(
        1 / 12, title="Warm-up", description="Share of the run in which the review rises linearly to its weight.",
        source="ReviewKD and mdistiller: 20 of 240 epochs", ge=0, le=1, tune=(0.0, 0.5),
    )  # fmt: skip


@register
class Review(Method):
    """L = ce_weight * CE + w(epoch) * review_weight * sum over stages and embedding of HCL, the gap at four scales."""

    name = "review_kd"
    title = "Knowledge review (ReviewKD)"
    description = (
        "From deep to shallow, each stage of the student joins what the deeper ones saw and copies the teacher's."
    )
    paper = "Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review, CVPR 2021"
    family = "features"
    mixes = True
    Params = ReviewKdParams
    captions = {  # noqa: RUF012
        "student": "the student's map, reviewed from the deeper ones",
        "teacher": "the teacher's map it is compared with",
    }
    params: ReviewKdParams

    def __init__(self, params: ReviewKdParams, context: Context) -> None:
        super().__init__(params, context)
        own, guide = context.student, context.teacher
        assert guide is not None
        self.pairs = pair_stages(own, guide)[::-1]
        channels = [(own.embedding, guide.embedding)]
        channels += [(own.stages[pair.student][0], guide.stages[pair.teacher][0]) for pair in self.pairs]
        width = min(params.width, own.embedding)
        self.fusions = nn.ModuleList(
            ReviewFusion(one, width, other, deeper=number > 0) for number, (one, other) in enumerate(channels)
        )

    @classmethod
    def requires(cls, params: ReviewKdParams) -> Needs:
        """Stage maps and embeddings of both nets."""
        return Needs(teacher=("embedding", "stages"), student=("logits", "embedding", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``review``."""
        assert teacher is not None
        guide = teacher(batch.image)
        own = student(batch.image)
        gaps = [hierarchical_context(*maps) for maps in self._review(own, guide)]
        rise = warm_up(clock, self.params.warmup * self.context.epochs)
        return {
            "ce": Term(self.cross_entropy(own.logits, batch.target), self.params.ce_weight),
            "review": Term(torch.stack(gaps).sum(), self.params.review_weight * rise),
        }

    def _review(self, own: Outputs, guide: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Reviewed map of the student and the teacher's of that size: embeddings as 1x1 maps, then deep to shallow."""
        maps = [(own.embedding[:, :, None, None], guide.embedding[:, :, None, None])]
        maps += [(own.stages[pair.student], guide.stages[pair.teacher]) for pair in self.pairs]
        found, fused = [], None
        for fusion, (stage, wanted) in zip(self.fusions, maps, strict=True):
            answer, fused = fusion(stage, fused, tuple(wanted.shape[2:]))
            found.append((answer, wanted))
        return found

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<side>`` (reviewed) and ``teacher_<side>``: attention maps (B, H, W) of each resolution."""
        if teacher is None:
            return {}
        with evaluating(self):
            found = self._review(student, teacher)[1:]
        arrays = {}
        for pair, maps in zip(self.pairs, found, strict=True):
            for role, stage in zip(("student", "teacher"), maps, strict=True):
                values = attention_map(stage).view(len(stage), *stage.shape[2:])
                arrays[f"{role}_{pair.side}"] = InspectedArray(values, "map")
        return arrays
