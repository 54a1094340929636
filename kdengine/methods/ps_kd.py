"""Progressive self-distillation (Kim et al., ICCV 2021): its predictions of the epoch before soften the labels.

Official code: lgcnsai/PS-KD-Pytorch, main.py. Deviations: none; an image that has not been seen yet has its label as
its past prediction, as in the official code's first epoch. The table of past predictions takes samples x classes
float32 numbers (20 MB for CIFAR-100) on the device and in every checkpoint; above 4 GB it is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.methods._memory import check_memory
from kdengine.methods._settings import share_setting
from kdengine.methods._warm_up import warm_up
from kdengine.methods.base import BatchLike, Context, Method, Needs, Network, Term, register
from kdengine.spec.fields import Settings


class PsKdParams(Settings):
    """Parameters of progressive self-distillation."""

    alpha: float = share_setting(
        0.8,
        title="Final share",
        description="Share of the past predictions in the targets of the last epoch; it rises linearly from the first.",
        source="lgcnsai/PS-KD-Pytorch: alpha_T 0.8",
        tune=(0.2, 0.95),
    )


@register
class Progressive(Method):
    """L = (1 - a_t) CE(labels) + a_t CE(past prediction), a_t = alpha * t / T over the epochs t = 1..T."""

    name = "ps_kd"
    title = "Progressive (PS-KD)"
    description = (
        "The student's own prediction for an image an epoch ago softens the label, more and more over the run."
    )
    when = "Without a teacher, over many epochs."
    paper = "Kim, Ji, Yoon, Hwang: Self-Knowledge Distillation with Progressive Refinement of Targets, ICCV 2021"
    family = "self-distillation"
    Params = PsKdParams
    params: PsKdParams
    past: Tensor
    seen: Tensor

    def __init__(self, params: PsKdParams, context: Context) -> None:
        super().__init__(params, context)
        check_memory(self.name, context.samples, context.classes, "take fewer images (data.fraction)")
        self.register_buffer("past", torch.zeros(context.samples, context.classes))
        self.register_buffer("seen", torch.zeros(context.samples, dtype=torch.bool))

    @classmethod
    def requires(cls, params: PsKdParams) -> Needs:
        """Nothing but the number of each sample, which every batch has."""
        return Needs(batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``past``; remembers the predictions for the next epoch."""
        logits = student(batch.image).logits
        share = self.params.alpha * warm_up(clock, self.context.epochs)
        past = self._recall(batch.index, batch.target)
        self._remember(batch.index, logits)
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), 1 - share),
            "past": Term(F.cross_entropy(full(logits), past), share),
        }

    def _recall(self, index: Tensor, target: Tensor) -> Tensor:
        """Past predictions, probabilities (B, C); the label where there is none."""
        labels = F.one_hot(target, self.context.classes).to(self.past.dtype)
        return torch.where(self.seen[index][:, None], self.past[index], labels)

    @torch.no_grad()
    def _remember(self, index: Tensor, logits: Tensor) -> None:
        self.past[index] = full(logits.detach()).softmax(dim=1).to(self.past.dtype)
        self.seen.index_fill_(0, index, True)  # assigned, the one True would be copied from the host
