"""Feature refinement via self-knowledge distillation, FRSKD (Ji, Shin, Hwang, Park, Moon. CVPR 2021, arXiv 2103.08273).

Official code: MingiJi/FRSKD. Deviation: attention is compared after the activation (see the self-teacher,
`kdengine.models.blocks.feature_pyramid`). Also the ground that `kdengine.methods.ama_self` builds on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.losses import attention_transfer
from kdengine.methods._inspecting import attention_array
from kdengine.methods._self_teacher import SelfTeacherMethod, SelfTeacherParams
from kdengine.methods._settings import weight_setting
from kdengine.methods.base import BatchLike, InspectedArray, Term, register
from kdengine.models.backbone import Outputs


class FrskdParams(SelfTeacherParams):
    """Parameters of FRSKD."""

    attention_weight: float = weight_setting(
        100.0,
        title="Attention weight",
        description="Weight of the difference of attention maps, a mean over places and small by nature.",
        source="MingiJi/FRSKD, ResNet18 on CIFAR-100",
        le=1e5,
        tune=(10.0, 1000.0),
    )


@register
class FeatureRefinement(SelfTeacherMethod):
    """L = CE + CE(self-teacher) + kd_weight * T² KL + attention_weight * sum over stages of attention differences."""

    name = "frskd"
    title = "Feature refinement (FRSKD)"
    description = (
        "A pyramid on the student's own maps is trained along; its predictions and attention teach the student."
    )
    when = "Without a teacher, for fine-grained classes."
    paper = "Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself (FRSKD), CVPR 2021"
    Params = FrskdParams
    captions = {  # noqa: RUF012
        "student": "where the student looks",
        "self_teacher": "where its self-teacher does",
    }
    params: FrskdParams

    def attend(
        self, maps: list[tuple[Tensor, Tensor]], teacher_logits: Tensor, batch: BatchLike, clock: Tensor
    ) -> dict[str, Term]:
        """``attention``."""
        differences = [attention_transfer(student, refined) for student, refined in maps]
        return {"attention": Term(torch.stack(differences).sum(), self.params.attention_weight)}

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<n>`` and ``self_teacher_<n>``: attention maps (B, H, W) of each stage."""
        arrays = {}
        for number, maps in self.refine(student)[0].items():
            for role, feature in zip(("student", "self_teacher"), maps, strict=True):
                arrays[f"{role}_{number}"] = attention_array(feature)
        return arrays
