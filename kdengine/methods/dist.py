"""Distillation from a stronger teacher, DIST (Huang et al., NeurIPS 2022). The loss is in `kdengine.losses.dist`."""

from __future__ import annotations

from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.fields import Settings, setting
from kdengine.losses import inter_class, intra_class
from kdengine.methods.base import BatchLike, Context, Method, Needs, Network, Term, register


class DistParams(Settings):
    """Parameters of DIST."""

    temperature: float = setting(
        4.0,
        title="Temperature",
        description="Softens both answers before their relations are compared.",
        source="our choice: that of KD on CIFAR-100; hunto/image_classification_sota uses 1 on ImageNet",
        gt=0,
        le=100,
        tune=(1.0, 8.0),
        log=True,
    )
    ce_weight: float = setting(
        1.0,
        title="Label weight",
        description="Weight of the cross-entropy with the labels.",
        source="hunto/image_classification_sota",
        ge=0,
        le=100,
    )
    beta: float = setting(
        1.0,
        title="Inter-class weight",
        description="Weight of how each answer ranks the classes.",
        source="hunto/image_classification_sota",
        ge=0,
        le=100,
        tune=(0.25, 4.0),
        log=True,
    )
    gamma: float = setting(
        1.0,
        title="Intra-class weight",
        description="Weight of how each class ranks the samples of a batch.",
        source="hunto/image_classification_sota",
        ge=0,
        le=100,
        tune=(0.25, 4.0),
        log=True,
    )


@register
class StrongerTeacher(Method):
    """L = ce_weight * CE + beta * inter-class distance + gamma * intra-class distance."""

    name = "dist"
    title = "Stronger teacher (DIST)"
    description = "The student keeps the teacher's relations between classes and between samples, not its exact values."
    paper = "Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022"
    family = "logits"
    mixes = True
    Params = DistParams
    params: DistParams

    def __init__(self, params: DistParams, context: Context) -> None:
        super().__init__(params, context)
        if context.classes == 2 and params.beta > 0:
            message = (
                "found two classes, whose probabilities correlate with 1 or -1 in any answer, so that the inter-class "
                "part teaches nothing; set beta to 0 to use the intra-class part alone"
            )
            raise BadInput(Problem("method.beta", message))

    @classmethod
    def requires(cls, params: DistParams) -> Needs:
        """The teacher's logits; the intra-class part relates the images of a batch."""
        ranks = "ranks the images of a batch within each class (method.gamma = 0 leaves that out)"
        return Needs(teacher=("logits",), batch_relations=ranks if params.gamma else "")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``inter_class`` and ``intra_class``."""
        assert teacher is not None
        taught = teacher(batch.image).logits
        logits = student(batch.image).logits
        temperature = self.params.temperature
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), self.params.ce_weight),
            "inter_class": Term(inter_class(logits, taught, temperature), self.params.beta),
            "intra_class": Term(intra_class(logits, taught, temperature), self.params.gamma),
        }
