"""Self-distillation from the last mini-batch (Shen et al., CVPR 2022).

Official code: Meta-knowledge-Lab/DLB, dlb.py: each image is seen in two steps running, under two augmentations, and
the logits of the first step teach the second. What is remembered: the logits of one batch, and whose they are.
Deviations: half of each batch is the second half of the one before, as the paper says (the code keeps whole batches and
runs the net twice); an epoch's first batch learns only from images that happen to be in the last batch too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdengine.losses import kd_of_some
from kdengine.losses.precision import full
from kdengine.methods._settings import temperature_setting, weight_setting
from kdengine.methods.base import BatchLike, Context, Method, Needs, Network, Term, register
from kdengine.spec.fields import Settings

NOBODY = -1


class DlbParams(Settings):
    """Parameters of self-distillation from the last batch."""

    temperature: float = temperature_setting(
        3.0,
        description="Softens the logits of both steps.",
        source="the official code's name for its runs, TP3_0.5, which gives no default itself",
    )
    alpha: float = weight_setting(
        title="Consistency weight",
        description="Weight of the gap to the prediction of the step before.",
        source="our choice: as much as the labels; the official code gives no default",
        tune=(0.1, 4.0),
    )


@register
class LastBatch(Method):
    """L = CE(whole batch) + alpha * T² KL(prediction one step ago || prediction now) over the half seen then."""

    name = "dlb"
    title = "Last batch (DLB)"
    description = "Half of each batch was in the one before; the predictions made then teach now. No teacher is needed."
    when = "Without a teacher, where half of each batch may be seen twice."
    paper = (
        "Shen, Xu, Yang, Li, Guo: Self-Distillation from the Last Mini-Batch for Consistency Regularization, CVPR 2022"
    )
    family = "self-distillation"
    Params = DlbParams
    params: DlbParams
    last_logits: Tensor
    last_index: Tensor

    def __init__(self, params: DlbParams, context: Context) -> None:
        super().__init__(params, context)
        self.register_buffer("last_logits", torch.zeros(1, context.classes), persistent=False)
        self.register_buffer("last_index", torch.full((1,), NOBODY), persistent=False)

    @classmethod
    def requires(cls, params: DlbParams) -> Needs:
        """Batches that overlap by half."""
        remembers = "remembers the last batch as a whole, and averages over those images that come again"
        return Needs(sampler="overlapping", batch_relations=remembers)

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``kd``; remembers the batch's logits."""
        logits = student(batch.image).logits
        same = batch.index[:, None] == self.last_index
        before = self.last_logits[same.int().argmax(dim=1)]
        consistency = kd_of_some(logits, before, self.params.temperature, same.any(dim=1))
        self._remember(batch.index, logits)
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), 1.0),
            "kd": Term(consistency, self.params.alpha),
        }

    def _remember(self, index: Tensor, logits: Tensor) -> None:
        self.last_logits = full(logits.detach()).clone()
        self.last_index = index.clone()

    def get_extra_state(self) -> dict[str, Any]:
        """The last batch's logits: as extra state, because its size is known with the first batch only."""
        return {"logits": self.last_logits, "index": self.last_index}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores them."""
        device = self.last_logits.device
        self.last_logits = state["logits"].to(device, copy=True)
        self.last_index = state["index"].to(device, copy=True)

    @classmethod
    def capturable(cls, params: DlbParams) -> bool:
        """No: what is remembered is a new tensor at each step."""
        return False
