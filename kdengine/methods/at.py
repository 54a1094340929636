"""Attention transfer (Zagoruyko & Komodakis, ICLR 2017). The loss is in `kdengine.losses.at`."""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.losses import attention_transfer
from kdengine.methods._inspecting import attention_array
from kdengine.methods._settings import label_weight_setting, weight_setting
from kdengine.methods._stages import pair_stages
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, InspectedArray, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings


class AtParams(Settings):
    """Parameters of attention transfer."""

    ce_weight: float = label_weight_setting(source="RepDistiller")
    at_weight: float = weight_setting(
        1000.0,
        title="Attention weight",
        description="Weight of the difference of attention maps, which is small by nature.",
        source="RepDistiller, -b 1000; mdistiller uses 1000 too",
        le=1e6,
        tune=(10.0, 10000.0),
        short_runs=10.0,
    )


@register
class AttentionTransfer(TaughtMethod):
    """L = ce_weight * CE + at_weight * sum over stage pairs of the squared difference of attention maps."""

    name = "at"
    title = "Attention transfer (AT)"
    description = "The student looks where the teacher looks, at every resolution that both nets have."
    when = "Where it matters what the network looks at; no extra parameters."
    paper = "Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017"
    family = "features"
    mixes = True
    teacher_outputs = ("stages",)
    student_outputs = ("logits", "stages")
    batch_relations = ""
    Params = AtParams
    captions = {  # noqa: RUF012
        "student": "where the student looks",
        "teacher": "where the teacher does, which the student is to match",
    }
    params: AtParams

    def __init__(self, params: AtParams, context: Context) -> None:
        super().__init__(params, context)
        self.pairs = pair_stages(context.student, self.teacher_shapes)

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``attention``."""
        differences = [
            attention_transfer(student.stages[pair.student], teacher.stages[pair.teacher]) for pair in self.pairs
        ]
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "attention": Term(torch.stack(differences).sum(), self.params.at_weight),
        }

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<side>`` and ``teacher_<side>``: attention maps (B, H, W) of each pair."""
        arrays = {}
        for pair in self.pairs:
            arrays[f"student_{pair.side}"] = attention_array(student.stages[pair.student])
            if teacher is not None:
                arrays[f"teacher_{pair.side}"] = attention_array(teacher.stages[pair.teacher])
        return arrays
