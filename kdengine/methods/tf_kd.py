"""Teacher-free distillation (Yuan et al., CVPR 2020): a teacher made by hand, or an earlier self.

The loss of the hand-made teacher is in `kdengine.losses.tf_kd`. Official code:
yuanli2333/Teacher-free-Knowledge-Distillation, my_loss_function.py and experiments/**/params.json. Deviations: sums
over classes, where the code has means times a multiplier of 1 to 100.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kdengine.losses import kd, virtual_teaching
from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register
from kdengine.spec.fields import Settings, setting


class TfKdParams(Settings):
    """Parameters of teacher-free distillation."""

    form: Literal["reg", "self"] = setting(
        "reg", title="Teacher", source="the paper has both; reg needs nothing",
        description="reg: a teacher made by hand, nothing to train first. self: a finished run of the student's own "
        "architecture, which you choose as the teacher.",
    )  # fmt: skip
    reg_share: float = setting(
        0.1, title="Share of the hand-made teacher", source="official code, ResNet18 on CIFAR-100: reg_alpha 0.1",
        description="Its share of the loss in the form reg; the labels have the rest.", ge=0, le=1, tune=(0.02, 0.9),
        when={"form": ("reg",)},
    )  # fmt: skip
    reg_temperature: float = setting(
        20.0, title="Temperature of the hand-made teacher", source="official code, ResNet18: reg_temperature 20",
        description="Softens it: from 20 on all classes are nearly even.", gt=0, le=1000, tune=(1.0, 100.0), log=True,
        when={"form": ("reg",)},
    )  # fmt: skip
    confidence: float = setting(
        0.99, title="Confidence", source="official code: correct_prob 0.99", gt=0, lt=1, advanced=True,
        description="The hand-made teacher's probability of the true class, before it is softened.",
    )  # fmt: skip
    self_share: float = setting(
        0.95, title="Share of the earlier self", source="official code: alpha 0.95",
        description="Its share of the loss in the form self; the labels have the rest.", ge=0, le=1, tune=(0.1, 0.95),
        when={"form": ("self",)},
    )  # fmt: skip
    self_temperature: float = setting(
        6.0, title="Temperature of the earlier self", source="official code, ResNet18 on CIFAR-100; 20 for MobileNetV2",
        description="Softens the logits of both networks in the form self.", gt=0, le=100, tune=(1.0, 20.0), log=True,
        when={"form": ("self",)},
    )  # fmt: skip


@register
class TeacherFree(Method):
    """L = (1 - a) CE + a KL(teacher made by hand || student), or (1 - a) CE + a T² KL(earlier self || student)."""

    name = "tf_kd"
    title = "Teacher-free (TF-KD)"
    description = (
        "A teacher made by hand, sure of the true class and even about the rest; or, with form self, a run of the "
        "student's own architecture as the teacher."
    )
    when = "Without a teacher, where the cheapest regularisation is wanted."
    paper = "Yuan, Tay, Li, Wang, Feng: Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020"
    family = "self-distillation"
    Params = TfKdParams
    params: TfKdParams

    @classmethod
    def requires(cls, params: TfKdParams) -> Needs:
        """The earlier self's logits in the form self; nothing in the form reg."""
        return Needs(teacher=("logits",) if params.form == "self" else (), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, and ``virtual`` (form reg) or ``kd`` (form self)."""
        params = self.params
        logits = student(batch.image).logits
        labels = self.cross_entropy(logits, batch.target)
        if teacher is None:
            divergence = virtual_teaching(logits, batch.target, params.confidence, params.reg_temperature)
            return {"ce": Term(labels, 1 - params.reg_share), "virtual": Term(divergence, params.reg_share)}
        divergence = kd(logits, teacher(batch.image).logits, params.self_temperature)
        return {"ce": Term(labels, 1 - params.self_share), "kd": Term(divergence, params.self_share)}
