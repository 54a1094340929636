"""Be your own teacher: shallow exits taught by the deepest (Zhang et al., ICCV 2019).

Reference code: luanyunteng/pytorch-be-your-own-teacher (no licence: read for facts only).
Deviations, all parameters: the feature term is a mean of squares instead of a sum over the batch (which grows with it);
the temperature enters as T²; branches are depthwise-separable instead of bottlenecks, so that any net of the catalog
gets them; alpha does not scale the deepest exit's own cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.fields import Settings, setting
from kdengine.losses import kd
from kdengine.methods.base import BatchLike, Context, Exit, Method, Needs, Network, Outputs, Term, register
from kdengine.models.blocks.branch import Branch


class ByotParams(Settings):
    """Parameters of self-distillation through exits."""

    temperature: float = setting(
        3.0,
        title="Temperature",
        description="Softens the answers of deepest and shallow exits.",
        source="pytorch-be-your-own-teacher",
        gt=0,
        le=100,
        tune=(1.0, 8.0),
        log=True,
    )
    alpha: float = setting(
        0.3,
        title="Teacher share",
        description="Share of a shallow exit's loss that comes from the deepest exit; the rest from the labels.",
        source="our choice; public codes use 0.1 to 0.5",
        ge=0,
        le=1,
        tune=(0.05, 0.9),
    )
    feature_weight: float = setting(
        0.05,
        title="Feature weight",
        description="Weight of the squared difference between a shallow exit's feature and the deepest one's.",
        source="our choice; Self-KD-Lib uses 0.05 on a mean",
        ge=0,
        le=100,
        tune=(0.001, 1.0),
        log=True,
    )


@register
class BeYourOwnTeacher(Method):
    """L = CE(deepest) + sum over exits of (1-a) CE + a T² KL(deepest || exit) + feature_weight * mean squared gap."""

    name = "byot"
    title = "Be your own teacher (BYOT)"
    description = "Exits on the student's own shallow stages learn from its deepest one; no teacher is needed."
    paper = "Zhang, Song, Gao, Chen, Bao, Ma: Be Your Own Teacher, ICCV 2019"
    family = "self-distillation"
    mixes = True
    Params = ByotParams
    params: ByotParams

    def __init__(self, params: ByotParams, context: Context) -> None:
        super().__init__(params, context)
        stages = context.student.stages
        if len(stages) < 2:
            message = (
                f"{self.name} hangs exits on shallow stages; the student has {len(stages)} stage maps, expected two or "
                "more"
            )
            raise BadInput(Problem("student", message))
        self.branches = nn.ModuleList(Branch(stage, stages[-1], context.classes) for stage in stages[:-1])

    @classmethod
    def requires(cls, params: ByotParams) -> Needs:
        """Stage maps of the student; no teacher."""
        return Needs(student=("logits", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` (deepest exit), ``ce_exits``, ``kd_exits`` and ``features`` (all summed over exits)."""
        own = student(batch.image)
        deepest_logits = own.logits.detach()
        deepest_feature = F.adaptive_avg_pool2d(own.stages[-1], 1).flatten(1).detach()
        labels, answers, features = [], [], []
        for index in range(len(self.branches)):
            feature, logits = self.answer(index, own)
            labels.append(self.cross_entropy(logits, batch.target))
            answers.append(kd(logits, deepest_logits, self.params.temperature))
            features.append(F.mse_loss(feature.float(), deepest_feature.float()))
        return {
            "ce": Term(self.cross_entropy(own.logits, batch.target), 1.0),
            "ce_exits": Term(torch.stack(labels).sum(), 1 - self.params.alpha),
            "kd_exits": Term(torch.stack(answers).sum(), self.params.alpha),
            "features": Term(torch.stack(features).sum(), self.params.feature_weight),
        }

    def answer(self, index: int, own: Outputs) -> tuple[Tensor, Tensor]:
        """Pooled feature (B, D) and logits (B, classes) of one exit."""
        return self.branches[index](own.stages[index])

    def head(self, index: int) -> tuple[nn.Module, ...]:
        """The modules of one exit."""
        return (self.branches[index],)

    def exits(self) -> list[Exit]:
        """One exit a shallow stage."""

        def exit_at(index: int) -> Exit:
            return Exit(f"exit {index + 1}", lambda own: self.answer(index, own)[1], index, self.head(index))

        return [exit_at(index) for index in range(len(self.branches))]
