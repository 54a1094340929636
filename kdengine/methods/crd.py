"""Contrastive representation distillation (Tian et al., ICLR 2020). The loss is in `kdengine.losses.crd`.

Official code: HobbitLong/RepDistiller, crd/. Deviations: the negatives of a step are drawn once for the whole batch,
not for each sample, so that a matrix product takes the place of B x K looked-up vectors (0.5 GB a net for 64 x 16384);
they are all different, hence at most as many as there are images; those of a sample's own class are left out as far
as their class is known, which it is once they have been in a batch.

Both memory banks take samples x dimension float32 numbers each (CIFAR-100: 51 MB together, ImageNet: 1.3 GB), on the
device and in every checkpoint; above 4 GB they are refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.losses import log_densities, log_normaliser, noise_contrastive
from kdengine.losses.precision import full
from kdengine.methods._memory import check_memory
from kdengine.methods._settings import label_weight_setting, weight_setting
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import Settings, setting

UNKNOWN = -1


class CrdParams(Settings):
    """Parameters of contrastive distillation."""

    ce_weight: float = label_weight_setting(source="RepDistiller and mdistiller")
    crd_weight: float = weight_setting(
        0.8,
        title="Contrast weight",
        description="Weight of telling the same image from others.",
        source="RepDistiller, -b 0.8; mdistiller uses 0.8 too",
        tune=(0.1, 5.0),
    )
    negatives: int = setting(
        16384, title="Negatives", description="Other images that a step draws; at most as many as there are.",
        source="RepDistiller and mdistiller", ge=1, le=1 << 20, tune=(256, 16384), log=True,
    )  # fmt: skip
    temperature: float = setting(
        0.07, title="Contrast temperature", description="Low: only near images count as mistaken for each other.",
        source="RepDistiller and mdistiller", ge=0.01, le=10, tune=(0.03, 0.3), log=True,
    )  # fmt: skip
    dimension: int = setting(
        128, title="Dimension", description="Width of the space in which both nets are compared.",
        source="RepDistiller and mdistiller", ge=2, le=4096, advanced=True,
    )  # fmt: skip
    momentum: float = setting(
        0.5, title="Memory momentum", description="How much of the past an image keeps in the memory when it is seen.",
        source="RepDistiller and mdistiller", ge=0, lt=1, advanced=True,
    )  # fmt: skip


@register
class Contrastive(TaughtMethod):
    """L = ce_weight * CE + crd_weight * (student against the teacher's memory + teacher against the student's)."""

    name = "crd"
    title = "Contrastive (CRD)"
    description = (
        "The student's features of an image are near the teacher's of the same image, far from those of others."
    )
    when = "Where features count, as for transfer; keeps features of all training images in memory."
    paper = "Tian, Krishnan, Isola: Contrastive Representation Distillation, ICLR 2020"
    family = "features"
    teacher_outputs = ("embedding",)
    student_outputs = ("logits", "embedding")
    batch_relations = "contrasts all images of a batch with the same others, drawn once a step"
    Params = CrdParams
    params: CrdParams
    student_memory: Tensor
    teacher_memory: Tensor
    labels: Tensor
    normalisers: Tensor
    started: Tensor

    def __init__(self, params: CrdParams, context: Context) -> None:
        super().__init__(params, context)
        samples, width = context.samples, params.dimension
        check_memory(self.name, samples, 2 * width, "lower method.dimension or take fewer images (data.fraction)")
        self.student_embedding = nn.Linear(context.student.embedding, width)
        self.teacher_embedding = nn.Linear(self.teacher_shapes.embedding, width)
        # Rows of about unit length, as RepDistiller starts them.
        bound = math.sqrt(3 / width)
        self.register_buffer("student_memory", torch.empty(samples, width).uniform_(-bound, bound))
        self.register_buffer("teacher_memory", torch.empty(samples, width).uniform_(-bound, bound))
        self.register_buffer("labels", torch.full((samples,), UNKNOWN))
        self.register_buffer("normalisers", torch.zeros(2))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``contrast``; puts the batch into the memories."""
        index = batch.index
        self.labels[index] = batch.target
        drawn = torch.randperm(self.context.samples, device=index.device)[: self.params.negatives]
        taken = self.labels[drawn] != batch.target[:, None]
        vectors = (
            self._unit(self.student_embedding, student.embedding),
            self._unit(self.teacher_embedding, teacher.embedding),
        )
        # Each net is asked against what is remembered of the other.
        memories = self.teacher_memory, self.student_memory
        scores = [
            log_densities(vector, memory[index], memory[drawn], self.params.temperature)
            for vector, memory in zip(vectors, memories, strict=True)
        ]
        normalisers = self._normalisers(scores)
        gaps = [
            noise_contrastive(positive - normaliser, negative - normaliser, taken, self.context.samples)
            for (positive, negative), normaliser in zip(scores, normalisers, strict=True)
        ]
        self._remember(index, vectors)
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "contrast": Term(torch.stack(gaps).sum(), self.params.crd_weight),
        }

    @staticmethod
    def _unit(embedding: nn.Module, features: Tensor) -> Tensor:
        return F.normalize(full(embedding(features)), dim=1)

    @torch.no_grad()
    def _normalisers(self, scores: list[tuple[Tensor, Tensor]]) -> Tensor:
        """log Z of both directions: of the first batch, and the same ever after."""
        now = torch.stack([log_normaliser(*pair, self.context.samples) for pair in scores])
        self.normalisers.copy_(torch.where(self.started, self.normalisers, now))
        self.started.fill_(True)
        return self.normalisers.clone()

    @torch.no_grad()
    def _remember(self, index: Tensor, vectors: tuple[Tensor, Tensor]) -> None:
        keep = self.params.momentum
        for memory, vector in zip((self.student_memory, self.teacher_memory), vectors, strict=True):
            memory[index] = F.normalize(keep * memory[index] + (1 - keep) * vector.detach().to(memory.dtype), dim=1)
