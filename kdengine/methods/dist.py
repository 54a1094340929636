"""Distillation from a stronger teacher, DIST (Huang et al., NeurIPS 2022). The loss is in `kdengine.losses.dist`."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.losses import inter_class, intra_class
from kdengine.methods._settings import label_weight_setting, temperature_setting, weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, Needs, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings


class DistParams(Settings):
    """Parameters of DIST."""

    temperature: float = temperature_setting(
        description="Softens the logits of both networks before their relations are compared.",
        source="our choice: that of KD on CIFAR-100; hunto/image_classification_sota uses 1 on ImageNet",
        tune=(1.0, 8.0),
    )
    ce_weight: float = label_weight_setting(source="hunto/image_classification_sota")
    beta: float = weight_setting(
        title="Inter-class weight",
        description="Weight of how each prediction ranks the classes.",
        source="hunto/image_classification_sota",
        tune=(0.25, 4.0),
    )
    gamma: float = weight_setting(
        title="Intra-class weight",
        description="Weight of how each class ranks the samples of a batch.",
        source="hunto/image_classification_sota",
        tune=(0.25, 4.0),
    )


@register
class StrongerTeacher(TaughtMethod):
    """L = ce_weight * CE + beta * inter-class distance + gamma * intra-class distance."""

    name = "dist"
    title = "Stronger teacher (DIST)"
    description = "The student keeps the teacher's relations between classes and between samples, not its exact values."
    when = "Where the teacher is far stronger than the student."
    paper = "Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022"
    family = "logits"
    mixes = True
    Params = DistParams
    params: DistParams

    def __init__(self, params: DistParams, context: Context) -> None:
        super().__init__(params, context)
        if context.classes == 2 and params.beta > 0:
            message = (
                "found two classes, whose probabilities correlate with 1 or -1 in any prediction, so that the "
                "inter-class part teaches nothing; set beta to 0 to use the intra-class part alone"
            )
            raise BadInput(Problem("method.beta", message))

    @classmethod
    def requires(cls, params: DistParams) -> Needs:
        """The teacher's logits; the intra-class part relates the images of a batch."""
        ranks = "ranks the images of a batch within each class (method.gamma = 0 leaves that out)"
        return replace(super().requires(params), batch_relations=ranks if params.gamma else "")

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``inter_class`` and ``intra_class``."""
        both, temperature = (student.logits, teacher.logits), self.params.temperature
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "inter_class": Term(inter_class(*both, temperature), self.params.beta),
            "intra_class": Term(intra_class(*both, temperature), self.params.gamma),
        }
