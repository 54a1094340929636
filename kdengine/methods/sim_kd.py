"""Reused teacher classifier, SimKD (Chen et al., CVPR 2022). The parts are in `kdengine.models.projected`.

What is deployed is the student's body, a projector, and the teacher's last linear layer; the student's own is not used.
Official code: DefangChen/SimKD, models/util.py and helper/loops.py. Deviations: where the teacher's embedding is not
the mean of its last map (other channels: MobileNet's, VGG's), the embeddings are compared instead of the maps; a
student without maps is projected from its embedding; labels can be added, through the teacher's classifier.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.losses import hint
from kdengine.methods._inspecting import attention_array
from kdengine.methods._settings import label_weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, InspectedArray, Term, register
from kdengine.models.backbone import Backbone, Outputs, evaluating
from kdengine.models.blocks.projector import Projector
from kdengine.models.blocks.regressor import common_side
from kdengine.models.projected import ProjectedBackbone, describe, last_map
from kdengine.spec.fields import Settings, setting


class SimKdParams(Settings):
    """Parameters of the reused teacher classifier."""

    feature_weight: float = setting(
        1.0, title="Feature weight", description="Weight of the squared gap between projected and teacher's features.",
        source="DefangChen/SimKD, -b 1", gt=0, le=1000, tune=(0.1, 100.0), log=True,
    )  # fmt: skip
    ce_weight: float = label_weight_setting(
        0.0,
        description="Weight of the cross-entropy behind the teacher's classifier; 0 = no labels.",
        source="DefangChen/SimKD, -c 0: no labels",
        tune=(0.0, 1.0),
    )
    factor: int = setting(
        2, title="Bottleneck", description="The projector is so many times narrower than the teacher's features.",
        source="DefangChen/SimKD, -f 2; 4 and 8 cost less and lose 0.2 to 1.4 points", ge=1, le=64, tune=(2, 8),
    )  # fmt: skip
    features: Literal["map", "embedding"] = setting(
        "map", title="Features", source="DefangChen/SimKD: the last map", advanced=True,
        description="Compare the last maps, or what the teacher's classifier sees; the latter is taken anyway where "
        "the teacher's last map has other channels than its classifier reads.",
    )  # fmt: skip
    relu: bool = setting(
        True, title="End in a ReLU", source="DefangChen/SimKD", advanced=True,
        description="Switch off for a teacher whose features go below zero (hard swish, GELU).",
    )  # fmt: skip


@register
class ReusedClassifier(TaughtMethod):
    """L = feature_weight * mean squared gap of the features, deployed with the teacher's classifier."""

    name = "sim_kd"
    title = "Reused classifier (SimKD)"
    description = (
        "The student learns the teacher's last features through a projector and is deployed with that projector and "
        "the teacher's classifier."
    )
    when = "Where the student may carry a projector and the teacher's classifier onto the device."
    paper = "Chen, Mei, Zhang, Wang, Feng, Chen: Knowledge Distillation with the Reused Teacher Classifier, CVPR 2022"
    family = "features"
    mixes = True
    deploy_extra = ("projector", "classifier")
    teacher_outputs = ("embedding", "stages", "classifier")
    student_outputs = ("embedding", "stages")
    batch_relations = ""
    Params = SimKdParams
    captions = {  # noqa: RUF012
        "student": "the student's last map, projected",
        "teacher": "the teacher's, which it is to become",
    }
    params: SimKdParams

    def __init__(self, params: SimKdParams, context: Context) -> None:
        super().__init__(params, context)
        student, teacher = context.student, self.teacher_shapes
        self.channels = student.stages[-1][0] if student.stages else student.embedding
        # A map whose channels are not the embedding's is not what the classifier reads.
        self.maps = params.features == "map" and bool(teacher.stages) and teacher.stages[-1][0] == teacher.embedding
        side = teacher.stages[-1][1:] if self.maps else (student.stages[-1][1:] if student.stages else (1, 1))
        self.projector = Projector(self.channels, teacher.embedding, side, params.factor, params.relu)
        self.classifier = nn.Linear(teacher.embedding, context.classes).requires_grad_(False)

    def copy_from_teacher(self, teacher: Backbone) -> None:
        """Copies the teacher's classifier: from then on neither resuming nor predicting needs the teacher.

        Raises:
            BadInput: maps are compared, and the teacher's classifier reads something else than its last map's mean.
        """
        if self.maps:
            _check_reads_the_mean(teacher)
        copied = teacher.classifier.state_dict()
        before = self.classifier.state_dict()
        moved = {name: value.to(before[name].device) for name, value in copied.items()}
        self.classifier.load_state_dict(before | moved)

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``features``, and ``ce`` where its weight is above 0."""
        projected = self.projector(last_map(student))
        if self.maps:
            gap = hint(*common_side(projected, teacher.stages[-1]))
        else:
            gap = hint(_pool(projected), teacher.embedding)
        terms = {"features": Term(gap, self.params.feature_weight)}
        if self.params.ce_weight > 0:
            logits = self.classifier(_pool(projected))
            terms["ce"] = Term(self.cross_entropy(logits, batch.target), self.params.ce_weight)
        return terms

    def deployable(self, student: Backbone) -> Backbone:
        """Body, projector and the teacher's classifier; the parts are shared, so that it is trained with them."""
        added = describe(self.projector, self.classifier, self.channels, self.params.factor, self.params.relu)
        return ProjectedBackbone(student, self.projector, self.classifier, added)

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student`` (projected) and ``teacher``: attention maps (B, H, W) of the last features."""
        if not student.stages:
            return {}
        with evaluating(self):
            found = {"student": self.projector(last_map(student))}
        if teacher is not None and teacher.stages:
            found["teacher"] = teacher.stages[-1]
        return {name: attention_array(feature) for name, feature in found.items()}


def _pool(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


@torch.no_grad()
def _check_reads_the_mean(teacher: Backbone) -> None:
    parameter = next(teacher.parameters())
    side = teacher.image_size
    # A fixed image with some structure; random numbers would move the run's.
    ramp = torch.linspace(-1, 1, 3 * side * side, device=parameter.device, dtype=parameter.dtype).view(1, 3, side, side)
    with evaluating(teacher):
        seen = teacher(ramp)
    mean = F.adaptive_avg_pool2d(seen.stages[-1], 1).flatten(1)
    if not torch.allclose(mean, seen.embedding, rtol=1e-3, atol=1e-4):
        message = f"the classifier of {teacher.name} reads something else than the mean of its last map"
        raise BadInput(Problem("method.features", message + "; choose embedding"))
