"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015). The loss is in `kdengine.losses.fitnet`.

After RepDistiller and mdistiller: hint and labels are learnt together, where the paper learns the hint first.
Deviations: the hinted stage is found by resolution; where no side is common the larger map is pooled, where mdistiller
has strided, transposed or large convolutions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from kdengine.fields import Settings, setting
from kdengine.losses import attention_map, hint
from kdengine.methods.base import (
    BatchLike,
    Context,
    InspectedArray,
    Method,
    Needs,
    Network,
    Outputs,
    StagePair,
    Term,
    pair_stages,
    register,
)
from kdengine.models.backbone import evaluating
from kdengine.models.blocks.regressor import Regressor, common_side


class FitNetParams(Settings):
    """Parameters of hints."""

    ce_weight: float = setting(
        1.0, title="Label weight", description="Weight of the cross-entropy with the labels.",
        source="RepDistiller and mdistiller", ge=0, le=100,
    )  # fmt: skip
    hint_weight: float = setting(
        100.0, title="Hint weight", description="Weight of the squared gap between the maps.",
        source="RepDistiller, -b 100; mdistiller uses 100 too", ge=0, le=1e5, tune=(1.0, 1000.0), log=True,
    )  # fmt: skip
    stage: Literal["middle", "deepest", "all"] = setting(
        "middle", title="Hinted stage", description="Which of the resolutions that both nets have gives the hint.",
        source="the paper: the middle layer; mdistiller: the second of three stages",
    )  # fmt: skip
    relu: bool = setting(
        True, title="End in a ReLU", source="RepDistiller and mdistiller", advanced=True,
        description="Switch off for a teacher whose maps go below zero (hard swish, GELU).",
    )  # fmt: skip


@register
class Hints(Method):
    """L = ce_weight * CE + hint_weight * sum over hinted stages of the mean squared gap after a 1x1 regressor."""

    name = "fitnet"
    title = "Hints (FitNet)"
    description = "A map in the middle of the student is to equal the teacher's, after a small learnt regressor."
    paper = "Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets, ICLR 2015"
    family = "features"
    mixes = True
    Params = FitNetParams
    captions = {  # noqa: RUF012
        "student": "the student's hint behind its regressor",
        "teacher": "the teacher's hint",
    }
    params: FitNetParams

    def __init__(self, params: FitNetParams, context: Context) -> None:
        super().__init__(params, context)
        assert context.teacher is not None
        self.pairs = _hinted(pair_stages(context.student, context.teacher), params.stage)
        widths = [(context.student.stages[p.student][0], context.teacher.stages[p.teacher][0]) for p in self.pairs]
        self.regressors = nn.ModuleList(Regressor(own, guide, params.relu) for own, guide in widths)

    @classmethod
    def requires(cls, params: FitNetParams) -> Needs:
        """Stage maps of both nets."""
        return Needs(teacher=("stages",), student=("logits", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``hint``."""
        assert teacher is not None
        guide = teacher(batch.image)
        own = student(batch.image)
        gaps = [hint(*common_side(*maps)) for maps in self._maps(own, guide)]
        return {
            "ce": Term(self.cross_entropy(own.logits, batch.target), self.params.ce_weight),
            "hint": Term(torch.stack(gaps).sum(), self.params.hint_weight),
        }

    def _maps(self, own: Outputs, guide: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Of each hinted stage, the student's map behind its regressor and the teacher's."""
        pairs = zip(self.pairs, self.regressors, strict=True)
        return [(regressor(own.stages[pair.student]), guide.stages[pair.teacher]) for pair, regressor in pairs]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<side>`` (behind the regressor) and ``teacher_<side>``: attention maps (B, H, W)."""
        if teacher is None:
            return {}
        with evaluating(self):
            found = self._maps(student, teacher)
        arrays = {}
        for pair, maps in zip(self.pairs, found, strict=True):
            for role, stage in zip(("student", "teacher"), maps, strict=True):
                values = attention_map(stage).view(len(stage), *stage.shape[2:])
                arrays[f"{role}_{pair.side}"] = InspectedArray(values, "map")
        return arrays


def _hinted(pairs: list[StagePair], stage: str) -> list[StagePair]:
    if stage == "all":
        return pairs
    return [pairs[-1 if stage == "deepest" else (len(pairs) - 1) // 2]]
