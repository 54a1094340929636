"""Be your own teacher: shallow exits learn from the deepest (Zhang et al., ICCV 2019).

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
from kdengine.losses import kd
from kdengine.losses.precision import full
from kdengine.methods._settings import share_setting, temperature_setting, weight_setting
from kdengine.methods.base import BatchLike, Context, Exit, Method, Needs, Network, Term, register
from kdengine.models.backbone import Outputs
from kdengine.models.blocks.branch import Branch
from kdengine.spec.fields import Settings


class ByotParams(Settings):
    """Parameters of self-distillation through exits."""

    temperature: float = temperature_setting(
        3.0,
        description="Softens the logits of deepest and shallow exits.",
        source="pytorch-be-your-own-teacher",
        tune=(1.0, 8.0),
    )
    alpha: float = share_setting(
        0.3,
        title="Teacher share",
        description="Share of a shallow exit's loss that comes from the deepest exit; the rest from the labels.",
        source="our choice; public codes use 0.1 to 0.5",
        tune=(0.05, 0.9),
    )
    feature_weight: float = weight_setting(
        0.05,
        title="Feature weight",
        description="Weight of the squared difference between a shallow exit's feature and the deepest one's.",
        source="our choice; Self-KD-Lib uses 0.05 on a mean",
        tune=(0.001, 1.0),
    )


@register
class BeYourOwnTeacher(Method):
    """L = CE(deepest) + sum over exits of (1-a) CE + a T² KL(deepest || exit) + feature_weight * mean squared gap."""

    name = "byot"
    title = "Be your own teacher (BYOT)"
    description = "Exits on the student's own shallow stages learn from its deepest one; no teacher is needed."
    when = "Without a teacher, where early exits are wanted on the device."
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
                f"{self.name} attaches exits to shallow stages; the student has {len(stages)} stage maps, expected two "
                "or more"
            )
            raise BadInput(Problem("student", message))
        self.branches = nn.ModuleList(Branch(stage, stages[-1], context.classes) for stage in stages[:-1])

    @classmethod
    def requires(cls, params: ByotParams) -> Needs:
        """Stage maps of the student; no teacher."""
        return Needs(student=("logits", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` (deepest exit), ``ce_exits``, ``kd_exits`` and ``features`` (all summed over exits)."""
        outputs = student(batch.image)
        deepest_logits = outputs.logits.detach()
        deepest_feature = F.adaptive_avg_pool2d(outputs.stages[-1], 1).flatten(1).detach()
        labels, divergences, features = [], [], []
        for index in range(len(self.branches)):
            feature, logits = self.exit_outputs(index, outputs)
            labels.append(self.cross_entropy(logits, batch.target))
            divergences.append(kd(logits, deepest_logits, self.params.temperature))
            features.append(F.mse_loss(full(feature), full(deepest_feature)))
        return {
            "ce": Term(self.cross_entropy(outputs.logits, batch.target), 1.0),
            "ce_exits": Term(torch.stack(labels).sum(), 1 - self.params.alpha),
            "kd_exits": Term(torch.stack(divergences).sum(), self.params.alpha),
            "features": Term(torch.stack(features).sum(), self.params.feature_weight),
        }

    def exit_outputs(self, index: int, student: Outputs) -> tuple[Tensor, Tensor]:
        """Pooled feature (B, D) and logits (B, classes) of one exit."""
        found: tuple[Tensor, Tensor] = self.branches[index](student.stages[index])
        return found

    def head(self, index: int) -> tuple[nn.Module, ...]:
        """The modules of one exit."""
        return (self.branches[index],)

    def exits(self) -> list[Exit]:
        """One exit a shallow stage."""

        def exit_at(index: int) -> Exit:
            def logits(student: Outputs) -> Tensor:
                return self.exit_outputs(index, student)[1]

            return Exit(f"exit {index + 1}", logits, index, self.head(index))

        return [exit_at(index) for index in range(len(self.branches))]
