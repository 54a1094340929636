"""Decoupled class-alignment distillation, DCAD (Liu, Xue, Zhang, Xu. Acta Electronica Sinica 2025, 53(3):962-973).

The abstract says that target and non-target knowledge are distilled apart and that "correlation information between the
class" is added. Everything else is a reconstruction: the decoupled part is DKD (`kdengine.losses.dkd`), the class
alignment one of three public readings (`kdengine.losses.class_alignment`), the defaults are DKD's and ours.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.losses import class_alignment, class_correlation
from kdengine.losses.class_alignment import Kind
from kdengine.methods._settings import weight_setting
from kdengine.methods._warm_up import warm_up
from kdengine.methods.base import BatchLike, Context, InspectedArray, Needs, Term, register
from kdengine.methods.dkd import Decoupled, DkdParams
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import setting


class DcadParams(DkdParams):
    """Parameters of decoupled distillation with class alignment: those of DKD, and two more."""

    beta: float = weight_setting(
        1.0,
        title="Non-target weight",
        description="Weight of how the teacher ranks the wrong classes; larger for more confident teachers.",
        source="our choice, by validation on digits; mdistiller: 2, 6 or 8 by pair, over 240 epochs",
        tune=(0.5, 16.0),
    )
    gamma: float = weight_setting(
        0.5,
        title="Class-alignment weight",
        description="Weight of how the classes of a batch go together, against the teacher's.",
        source="our choice, by validation on digits; 2 has the gradient of CE at 100 classes, the Gram form needs 1000",
        le=1e5,
        tune=(0.25, 8.0),
    )
    kind: Kind = setting(
        "correlation",
        title="Class relation",
        description=(
            "What is aligned: the correlation matrix of the classes; Pearson's r of each class with the teacher's "
            "(as in DIST); or the Gram matrix (as in MLKD), whose size falls with the temperature."
        ),
        source="our choice; the abstract names no formula",
    )


@register
class DecoupledClassAlignment(Decoupled):
    """L = ce_weight * CE + w(epoch) * (alpha * target + beta * non-target + gamma * class alignment)."""

    name = "dcad"
    title = "Decoupled, class-aligned (DCAD)"
    description = "Distils target and non-target knowledge apart, and how the classes go together over a batch."
    when = "Where classes resemble each other; made for a CIP teacher and MobileNetV3."
    paper = "Liu, Xue, Zhang, Xu: CIP and DCAD, Acta Electronica Sinica 53(3), 2025 (reconstructed from its abstract)"
    Params = DcadParams
    params: DcadParams

    def __init__(self, params: DcadParams, context: Context) -> None:
        super().__init__(params, context)
        if context.classes == 2 and params.kind == "correlation" and params.gamma > 0:
            message = (
                "found two classes, whose probabilities correlate with -1 in any net, so there is nothing to align; "
                "choose the class relation pearson or gram, or set gamma to 0"
            )
            raise BadInput(Problem("method.kind", message))

    @classmethod
    def requires(cls, params: DcadParams) -> Needs:
        """The teacher's logits; the class alignment relates the images of a batch."""
        aligns = "aligns classes by how they go together over a batch (method.gamma = 0 leaves that out)"
        return replace(super().requires(params), batch_relations=aligns if params.gamma else "")

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``target``, ``non_target`` (0 for two classes) and ``class_alignment``."""
        params = self.params
        terms = super().loss_terms(student, teacher, batch, clock)
        alignment = class_alignment(student.logits, teacher.logits, params.temperature, params.kind)
        rise = warm_up(clock, params.warmup * self.context.epochs)
        return terms | {"class_alignment": Term(alignment, params.gamma * rise)}

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """Class-correlation matrices (C, C) over these images: ``student``, ``teacher``, and their ``difference``."""
        of_student = class_correlation(student.logits, self.params.temperature)
        if teacher is None:
            return {"student": InspectedArray(of_student, "classes")}
        of_teacher = class_correlation(teacher.logits, self.params.temperature)
        matrices = {"teacher": of_teacher, "student": of_student, "difference": of_student - of_teacher}
        return {name: InspectedArray(values, "classes") for name, values in matrices.items()}
