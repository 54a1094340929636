"""A self-teacher on the student's own stage maps: what the methods that have one share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.losses import kd
from kdengine.methods._settings import temperature_setting, weight_setting
from kdengine.methods.base import BatchLike, Context, Exit, Method, Needs, Network, Term
from kdengine.models.backbone import Outputs, evaluating
from kdengine.models.blocks.feature_pyramid import FeaturePyramid
from kdengine.spec.fields import Settings, setting


class SelfTeacherParams(Settings):
    """Parameters that all methods with a self-teacher share."""

    temperature: float = temperature_setting(
        description="Softens the logits of the student and of its self-teacher.", source="MingiJi/FRSKD"
    )
    kd_weight: float = weight_setting(
        2.0,
        title="Prediction weight",
        description="Weight of the divergence from the self-teacher's softened probabilities.",
        source="MingiJi/FRSKD, ResNet18 on CIFAR-100",
        tune=(0.25, 8.0),
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


class SelfTeacherMethod(Method):
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
        outputs = student(batch.image)
        refined, teacher_logits = self.self_teacher(outputs.stages)
        divergence = kd(outputs.logits, teacher_logits.detach(), self.params.temperature)
        terms = {
            "ce": Term(self.cross_entropy(outputs.logits, batch.target), 1.0),
            "ce_teacher": Term(self.cross_entropy(teacher_logits, batch.target), 1.0),
            "kd": Term(divergence, self.params.kd_weight),
        }
        maps = [(outputs.stages[index], refined[index].detach()) for index in self.attended]
        return terms | self.attend(maps, teacher_logits.detach(), batch, clock)

    def attend(
        self, maps: list[tuple[Tensor, Tensor]], teacher_logits: Tensor, batch: BatchLike, clock: Tensor
    ) -> dict[str, Term]:
        """Terms on the maps.

        Args:
            maps: of each attended stage, the student's map and the self-teacher's, detached.
            teacher_logits: the self-teacher's, detached.
        """
        raise NotImplementedError

    def refine(self, student: Outputs) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
        """For looking at: "1", "2", ... -> (student's map, self-teacher's map), and the self-teacher's logits."""
        with evaluating(self):
            refined, teacher_logits = self.self_teacher(student.stages)
        return {str(index + 1): (student.stages[index], refined[index]) for index in self.attended}, teacher_logits

    def exits(self) -> list[Exit]:
        """The self-teacher's own prediction."""
        parts = (self.self_teacher,)
        return [Exit("self-teacher", lambda student: self.self_teacher(student.stages)[1], parts=parts)]
