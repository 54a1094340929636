"""Attention transfer (Zagoruyko & Komodakis, ICLR 2017). The loss is in `kdengine.losses.at`."""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.fields import Settings, setting
from kdengine.losses import attention_map, attention_transfer
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


class AtParams(Settings):
    """Parameters of attention transfer."""

    ce_weight: float = setting(
        1.0,
        title="Label weight",
        description="Weight of the cross-entropy with the labels.",
        source="RepDistiller",
        ge=0,
        le=100,
    )
    at_weight: float = setting(
        1000.0,
        title="Attention weight",
        description="Weight of the difference of attention maps, which is small by nature.",
        source="RepDistiller, -b 1000; mdistiller uses 1000 too",
        ge=0,
        le=1e6,
        tune=(10.0, 10000.0),
        log=True,
    )


@register
class AttentionTransfer(Method):
    """L = ce_weight * CE + at_weight * sum over stage pairs of the squared difference of attention maps."""

    name = "at"
    title = "Attention transfer (AT)"
    description = "The student looks where the teacher looks, at every resolution that both nets have."
    paper = "Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017"
    family = "features"
    mixes = True
    Params = AtParams
    captions = {  # noqa: RUF012
        "student": "where the student looks",
        "teacher": "where the teacher does, which the student is to match",
    }
    params: AtParams

    def __init__(self, params: AtParams, context: Context) -> None:
        super().__init__(params, context)
        assert context.teacher is not None
        self.pairs = pair_stages(context.student, context.teacher)

    @classmethod
    def requires(cls, params: AtParams) -> Needs:
        """Stage maps of both nets."""
        return Needs(teacher=("stages",), student=("logits", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``attention``."""
        assert teacher is not None
        guide = teacher(batch.image).stages
        own = student(batch.image)
        differences = [attention_transfer(own.stages[pair.student], guide[pair.teacher]) for pair in self.pairs]
        return {
            "ce": Term(self.cross_entropy(own.logits, batch.target), self.params.ce_weight),
            "attention": Term(torch.stack(differences).sum(), self.params.at_weight),
        }

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<side>`` and ``teacher_<side>``: attention maps (B, H, W) of each pair."""
        arrays = {}
        for pair in self.pairs:
            for role, outputs, index in (("student", student, pair.student), ("teacher", teacher, pair.teacher)):
                if outputs is not None:
                    stage = outputs.stages[index]
                    arrays[f"{role}_{pair.side}"] = InspectedArray(
                        attention_map(stage).view(len(stage), *stage.shape[2:]), "map"
                    )
        return arrays
