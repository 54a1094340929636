"""Feature refinement via self-knowledge distillation, FRSKD (Ji, Shin, Hwang, Park, Moon. CVPR 2021, arXiv 2103.08273).

Official code: MingiJi/FRSKD. Deviation: attention is compared after the activation (see the self-teacher,
`kdengine.models.blocks.feature_pyramid`). Also the ground that `kdengine.methods.ama_self` builds on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.fields import Settings, setting
from kdengine.losses import attention_map, attention_transfer, kd
from kdengine.methods.base import (
    BatchLike,
    Context,
    Exit,
    InspectedArray,
    Method,
    Needs,
    Network,
    Outputs,
    Term,
    register,
)
from kdengine.models.backbone import evaluating
from kdengine.models.blocks.feature_pyramid import FeaturePyramid


class SelfTeacherParams(Settings):
    """Parameters that all methods with a self-teacher share."""

    temperature: float = setting(
        4.0,
        title="Temperature",
        description="Softens the answers of the net and of its self-teacher.",
        source="MingiJi/FRSKD",
        gt=0,
        le=100,
        tune=(1.0, 10.0),
        log=True,
    )
    kd_weight: float = setting(
        2.0,
        title="Answer weight",
        description="Weight of the divergence from the self-teacher's softened answer.",
        source="MingiJi/FRSKD, ResNet18 on CIFAR-100",
        ge=0,
        le=100,
        tune=(0.25, 8.0),
        log=True,
    )
    width: float = setting(
        2.0,
        title="Width",
        description="Channels of the self-teacher's maps as a multiple of the net's; it costs in training only.",
        source="MingiJi/FRSKD",
        ge=0.125,
        le=4,
        advanced=True,
    )
    depth: int = setting(
        2,
        title="Depth",
        description="Layers in each block of the self-teacher.",
        source="MingiJi/FRSKD",
        ge=1,
        le=4,
        advanced=True,
    )


class FrskdParams(SelfTeacherParams):
    """Parameters of FRSKD."""

    attention_weight: float = setting(
        100.0,
        title="Attention weight",
        description="Weight of the difference of attention maps, a mean over places and small by nature.",
        source="MingiJi/FRSKD, ResNet18 on CIFAR-100",
        ge=0,
        le=1e5,
        tune=(10.0, 1000.0),
        log=True,
    )


class SelfTaught(Method):
    """A net with a self-teacher on its stage maps; what is taken from the self-teacher's maps is the subclass's."""

    family = "self-distillation"
    mixes = True

    def __init__(self, params: Any, context: Context) -> None:
        super().__init__(params, context)
        stages = context.student.stages
        # A map of one place says nothing of where to look.
        self.attended = [index for index, (_, height, width) in enumerate(stages) if height * width > 1]
        if len(stages) < 2 or not self.attended:
            message = (
                f"{self.name} refines maps of several depths; the student has {len(stages)} stage maps, "
                f"{len(self.attended)} of them of more than one place; expected two or more, and one such"
            )
            raise BadInput(Problem("student", message))
        self.self_teacher = FeaturePyramid(stages, context.classes, params.width, params.depth)

    @classmethod
    def requires(cls, params: Any) -> Needs:
        """Stage maps of the student; no teacher."""
        return Needs(student=("logits", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``ce_teacher``, ``kd``, and what `attend` gives."""
        own = student(batch.image)
        refined, guide = self.self_teacher(own.stages)
        answer = kd(own.logits, guide.detach(), self.params.temperature)
        terms = {
            "ce": Term(self.cross_entropy(own.logits, batch.target), 1.0),
            "ce_teacher": Term(self.cross_entropy(guide, batch.target), 1.0),
            "kd": Term(answer, self.params.kd_weight),
        }
        maps = [(own.stages[index], refined[index].detach()) for index in self.attended]
        return terms | self.attend(maps, guide.detach(), batch, clock)

    def attend(
        self, maps: list[tuple[Tensor, Tensor]], guide: Tensor, batch: BatchLike, clock: Tensor
    ) -> dict[str, Term]:
        """Terms on the maps.

        Args:
            maps: of each attended stage, the student's map and the self-teacher's, detached.
            guide: the self-teacher's logits, detached.
        """
        raise NotImplementedError

    def refine(self, own: Outputs) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
        """For looking at: "1", "2", ... -> (student's map, self-teacher's map), and the self-teacher's logits."""
        with evaluating(self):
            refined, guide = self.self_teacher(own.stages)
        return {str(index + 1): (own.stages[index], refined[index]) for index in self.attended}, guide

    def exits(self) -> list[Exit]:
        """The self-teacher's own answer."""
        parts = (self.self_teacher,)
        return [Exit("self-teacher", lambda own: self.self_teacher(own.stages)[1], parts=parts)]


@register
class FeatureRefinement(SelfTaught):
    """L = CE + CE(self-teacher) + kd_weight * T² KL + attention_weight * sum over stages of attention differences."""

    name = "frskd"
    title = "Feature refinement (FRSKD)"
    description = "A pyramid on the student's own maps is trained along and teaches answer and attention."
    paper = "Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself (FRSKD), CVPR 2021"
    Params = FrskdParams
    captions = {  # noqa: RUF012
        "student": "where the student looks",
        "self_teacher": "where its self-teacher does",
    }
    params: FrskdParams

    def attend(
        self, maps: list[tuple[Tensor, Tensor]], guide: Tensor, batch: BatchLike, clock: Tensor
    ) -> dict[str, Term]:
        """``attention``."""
        differences = [attention_transfer(own, refined) for own, refined in maps]
        return {"attention": Term(torch.stack(differences).sum(), self.params.attention_weight)}

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<n>`` and ``self_teacher_<n>``: attention maps (B, H, W) of each stage."""
        arrays = {}
        for number, maps in self.refine(student)[0].items():
            for role, feature in zip(("student", "self_teacher"), maps, strict=True):
                values = attention_map(feature).view(len(feature), *feature.shape[2:])
                arrays[f"{role}_{number}"] = InspectedArray(values, "map")
        return arrays
