"""Knowledge review (Chen et al., CVPR 2021). The loss is in `kdengine.losses.review_kd`, the parts in
`kdengine.models.blocks.review`.

Public code: dvlab-research/ReviewKD; megvii-research/mdistiller, distillers/ReviewKD.py. Deviations: the teacher's maps
come after activation, where the public codes take them before it; stages are paired by resolution, where the codes list
them by hand for each pair of nets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdengine.losses import hierarchical_context
from kdengine.methods._inspecting import paired_attention
from kdengine.methods._settings import label_weight_setting, warm_up_setting, weight_setting
from kdengine.methods._stages import pair_stages
from kdengine.methods._taught import TaughtMethod
from kdengine.methods._warm_up import warm_up
from kdengine.methods.base import BatchLike, Context, InspectedArray, Term, register
from kdengine.models.backbone import Outputs, evaluating
from kdengine.models.blocks.review import ReviewFusion
from kdengine.spec.fields import Settings, setting


class ReviewKdParams(Settings):
    """Parameters of knowledge review."""

    ce_weight: float = label_weight_setting(source="ReviewKD and mdistiller")
    review_weight: float = weight_setting(
        5.0,
        title="Review weight",
        description="Weight of the gap between reviewed and teacher's maps.",
        source="ReviewKD: 5 for most pairs on CIFAR-100, 0.6 to 8 for others; mdistiller 1",
        le=1000,
        tune=(0.5, 10.0),
    )
    width: int = setting(
        512, title="Largest width", source="mdistiller", ge=4, le=4096, advanced=True,
        description="Channels passed from step to step: as many as the student's embedding has, at most so many.",
    )  # fmt: skip
    warmup: float = warm_up_setting(
        description="Share of the run in which the review rises linearly to its weight.",
        source="ReviewKD and mdistiller: 20 of 240 epochs",
    )


@register
class Review(TaughtMethod):
    """L = ce_weight * CE + w(epoch) * review_weight * sum over stages and embedding of HCL, the gap at four scales."""

    name = "review_kd"
    title = "Knowledge review (ReviewKD)"
    description = (
        "From deep to shallow, each stage of the student joins what the deeper ones saw and copies the teacher's."
    )
    when = "Where matching features may cost time, for networks with stages of equal size."
    paper = "Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review, CVPR 2021"
    family = "features"
    mixes = True
    teacher_outputs = ("embedding", "stages")
    student_outputs = ("logits", "embedding", "stages")
    batch_relations = ""
    Params = ReviewKdParams
    captions = {  # noqa: RUF012
        "student": "the student's map, reviewed from the deeper ones",
        "teacher": "the teacher's map it is compared with",
    }
    params: ReviewKdParams

    def __init__(self, params: ReviewKdParams, context: Context) -> None:
        super().__init__(params, context)
        student, teacher = context.student, self.teacher_shapes
        self.pairs = pair_stages(student, teacher)[::-1]
        channels = [(student.embedding, teacher.embedding)]
        channels += [(student.stages[pair.student][0], teacher.stages[pair.teacher][0]) for pair in self.pairs]
        width = min(params.width, student.embedding)
        self.fusions = nn.ModuleList(
            ReviewFusion(one, width, other, deeper=number > 0) for number, (one, other) in enumerate(channels)
        )

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``review``."""
        gaps = [hierarchical_context(*maps) for maps in self._review(student, teacher)]
        rise = warm_up(clock, self.params.warmup * self.context.epochs)
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "review": Term(torch.stack(gaps).sum(), self.params.review_weight * rise),
        }

    def _review(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Reviewed map of the student and the teacher's of that size: embeddings as 1x1 maps, then deep to shallow."""
        maps = [(student.embedding[:, :, None, None], teacher.embedding[:, :, None, None])]
        maps += [(student.stages[pair.student], teacher.stages[pair.teacher]) for pair in self.pairs]
        found, fused = [], None
        for fusion, (student_map, teacher_map) in zip(self.fusions, maps, strict=True):
            reviewed, fused = fusion(student_map, fused, tuple(teacher_map.shape[2:]))
            found.append((reviewed, teacher_map))
        return found

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<side>`` (reviewed) and ``teacher_<side>``: attention maps (B, H, W) of each resolution."""
        if teacher is None:
            return {}
        with evaluating(self):
            return paired_attention(self.pairs, self._review(student, teacher)[1:])
