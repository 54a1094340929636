"""Multi-level logit distillation (Jin et al., CVPR 2023). The losses are in `kdengine.losses.multi_level`.

Official code: Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/distillers/KD_ours.py. What it does and is not
copied: its masks multiply values that are means already, so that they act as a factor of about 1/2 (here they choose
samples, pairs and classes, as the commented-out code beside them would); the batch and class level of the stronger view
are computed and not summed (here they are); two temperatures of the stronger view's instance level read the plain view.
Other deviations: means over the five temperatures, where the code has sums, which at the usual learning rates diverge
(its recipe halves the rate); losses do not change with the size of the batch or the number of classes (the weights of
batch and class level are the code's with 64 samples and 100 classes); the stronger view is made here, from the second
of two plain ones, by contrast, brightness and a square cut out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kdengine.losses import batch_level, class_level, class_relations, instance_level, least_sure
from kdengine.losses.precision import full
from kdengine.losses.relations import in_groups
from kdengine.methods._settings import group_setting, label_weight_setting, temperature_setting, weight_setting
from kdengine.methods.base import BatchLike, InspectedArray, Method, Needs, Network, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings, setting

LADDER = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Temperatures as multiples of the middle one: 2 to 6 around 4, as in the official code."""


class MultiLevelParams(Settings):
    """Parameters of multi-level distillation."""

    temperature: float = temperature_setting(
        title="Middle temperature",
        description="Logits are compared at this temperature and at 0.5, 0.75, 1.25 and 1.5 times it.",
        source="official code: 2 to 6",
    )
    ce_weight: float = label_weight_setting(
        0.1,
        description="Weight of the cross-entropy with the labels, for each view.",
        source="official code",
        tune=(0.05, 1.0),
    )
    instance_weight: float = weight_setting(
        0.9,
        title="Instance weight",
        description="Weight of the divergence from the teacher's predictions.",
        source="official code",
        tune=(0.1, 10.0),
    )
    batch_weight: float = weight_setting(
        0.576,
        title="Batch weight",
        description="Weight of the difference in which samples get the same prediction.",
        source="official code: 0.9 on a loss 0.64 times ours with its batch of 64 and 100 classes",
        le=1000,
        tune=(0.05, 10.0),
    )
    class_weight: float = weight_setting(
        0.3686,
        title="Class weight",
        description="Weight of the difference in which classes are predicted together.",
        source="official code: 0.9 on a loss 0.64² times ours with its batch of 64 and 100 classes",
        le=1000,
        tune=(0.05, 10.0),
    )
    unsure_share: float = setting(
        0.5, title="Unsure share", source="official code: the half below the median", ge=0, le=1,
        description="On the plain view only this share of samples and classes counts: those of which the teacher is "
        "least sure; 1 = all.",
    )  # fmt: skip
    strength: float = setting(
        0.5, title="Strength", source="our choice", ge=0, le=1, tune=(0.0, 1.0),
        description="How much the second view is changed: contrast, brightness, a square cut out.",
    )  # fmt: skip
    group: int = group_setting(
        description="The batch level relates at most so many samples to each other; larger batches are split.",
        source="the batch of the official code, which is not split",
    )


@register
class MultiLevel(Method):
    """L = sum over two views of ce * CE + i * instance + b * batch + c * class level, at five temperatures."""

    name = "multi_level"
    title = "Multi-level (MLKD)"
    description = (
        "Two views; each prediction, which samples get the same one, and which classes go together are the teacher's."
    )
    when = "Where two augmented views a step can be paid for."
    paper = "Jin, Wang, Lin: Multi-Level Logit Distillation, CVPR 2023"
    family = "logits"
    Params = MultiLevelParams
    params: MultiLevelParams

    @classmethod
    def requires(cls, params: MultiLevelParams) -> Needs:
        """The teacher's logits, and two views of each image."""
        relations = "compares the images of a batch with each other and takes the least sure of them"
        return Needs(teacher=("logits",), views=2, batch_relations=relations)

    def prepare(self, batch: Any) -> Any:
        """Changes the second view more strongly, by random numbers of the global generator."""
        first, second, *others = batch.views
        return replace(batch, views=(first, stronger(second, self.params.strength), *others))

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``instance``, ``batch`` and ``class``, each the sum over both views."""
        assert teacher is not None
        params = self.params
        temperatures = [params.temperature * factor for factor in LADDER]
        teacher_logits = [teacher(view).logits for view in batch.views[:2]]
        student_logits = [student(view).logits for view in batch.views[:2]]
        probabilities = full(teacher_logits[0]).softmax(dim=1)
        samples = least_sure(probabilities.amax(dim=1), params.unsure_share)
        classes = least_sure(probabilities.sum(dim=0), params.unsure_share)

        def both(level: Any, taken: Tensor) -> Tensor:
            plain = level(student_logits[0], teacher_logits[0], temperatures, taken)
            found: Tensor = plain + level(student_logits[1], teacher_logits[1], temperatures)
            return found

        def samples_in_groups(logits: Tensor, wanted: Tensor, ladder: list[float], *taken: Tensor) -> Tensor:
            return in_groups(lambda o, w, *t: batch_level(o, w, ladder, *t), params.group, logits, wanted, *taken)

        labels = torch.stack([self.cross_entropy(logits, batch.target) for logits in student_logits]).sum()
        return {
            "ce": Term(labels, params.ce_weight),
            "instance": Term(both(instance_level, samples), params.instance_weight),
            "batch": Term(both(samples_in_groups, samples), params.batch_weight),
            "class": Term(both(class_level, classes), params.class_weight),
        }

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student``, ``teacher``, ``difference``: which classes are predicted together, (C, C)."""
        if teacher is None:
            return {}
        of_student, of_teacher = (
            class_relations(outputs.logits, self.params.temperature) for outputs in (student, teacher)
        )
        matrices = {"student": of_student, "teacher": of_teacher, "difference": of_student - of_teacher}
        return {name: InspectedArray(values, "classes") for name, values in matrices.items()}


def stronger(images: Tensor, strength: float) -> Tensor:
    """Images with another contrast and brightness, and a square of each set to 0, the mean of normalised pixels.

    Args:
        images: (B, 3, H, W), normalised.
        strength: s in 0..1. Contrast is drawn from 1 - s/2 .. 1 + s/2, what is added from -s/2 .. s/2 (standard
            deviations), the square's side from 0 to s/2 of the image's, its place anywhere; each image by itself.

    Returns:
        The same shape; equal to ``images`` for strength 0.
    """
    count, _, height, width = images.shape
    draws = torch.rand(5, count, 1, 1, 1, device=images.device, dtype=images.dtype)
    contrast, brightness = 1 + strength * (draws[0] - 0.5), strength * (draws[1] - 0.5)
    half = strength / 4 * draws[2]
    rows = torch.linspace(0, 1, height, device=images.device, dtype=images.dtype).view(-1, 1)
    columns = torch.linspace(0, 1, width, device=images.device, dtype=images.dtype)
    inside = ((rows - draws[3]).abs() < half) & ((columns - draws[4]).abs() < half)
    return torch.where(inside, 0.0, images * contrast + brightness)
