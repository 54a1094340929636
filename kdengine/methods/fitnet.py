"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015). The loss is in `kdengine.losses.fitnet`.

After RepDistiller and mdistiller: hint and labels are learnt together, where the paper learns the hint first.
Deviations: the hinted stage is found by resolution; where no side is common the larger map is pooled, where mdistiller
has strided, transposed or large convolutions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from kdengine.losses import hint
from kdengine.methods._inspecting import paired_attention
from kdengine.methods._settings import label_weight_setting, weight_setting
from kdengine.methods._stages import StagePair, pair_stages
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, InspectedArray, Term, register
from kdengine.models.backbone import Outputs, evaluating
from kdengine.models.blocks.regressor import Regressor, common_side
from kdengine.spec.fields import Settings, setting


class FitNetParams(Settings):
    """Parameters of hints."""

    ce_weight: float = label_weight_setting(source="RepDistiller and mdistiller")
    hint_weight: float = weight_setting(
        100.0,
        title="Hint weight",
        description="Weight of the squared gap between the maps.",
        source="RepDistiller, -b 100; mdistiller uses 100 too",
        le=1e5,
        tune=(1.0, 1000.0),
    )
    stage: Literal["middle", "deepest", "all"] = setting(
        "middle", title="Hinted stage", description="Which of the resolutions that both nets have gives the hint.",
        source="the paper: the middle layer; mdistiller: the second of three stages",
    )  # fmt: skip
    relu: bool = setting(
        True, title="End in a ReLU", source="RepDistiller and mdistiller", advanced=True,
        description="Switch off for a teacher whose maps go below zero (hard swish, GELU).",
    )  # fmt: skip


@register
class Hints(TaughtMethod):
    """L = ce_weight * CE + hint_weight * sum over hinted stages of the mean squared gap after a 1x1 regressor."""

    name = "fitnet"
    title = "Hints (FitNet)"
    description = "A map in the middle of the student is to equal the teacher's, after a small learnt regressor."
    when = "Where the student is built like the teacher and a hint half-way is enough."
    paper = "Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets, ICLR 2015"
    family = "features"
    mixes = True
    teacher_outputs = ("stages",)
    student_outputs = ("logits", "stages")
    batch_relations = ""
    Params = FitNetParams
    captions = {  # noqa: RUF012
        "student": "the student's hint behind its regressor",
        "teacher": "the teacher's hint",
    }
    params: FitNetParams

    def __init__(self, params: FitNetParams, context: Context) -> None:
        super().__init__(params, context)
        self.pairs = _hinted(pair_stages(context.student, self.teacher_shapes), params.stage)
        widths = [(context.student.stages[p.student][0], self.teacher_shapes.stages[p.teacher][0]) for p in self.pairs]
        self.regressors = nn.ModuleList(Regressor(*both, params.relu) for both in widths)

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` and ``hint``."""
        gaps = [hint(*common_side(*maps)) for maps in self._maps(student, teacher)]
        return {
            "ce": Term(self.cross_entropy(student.logits, batch.target), self.params.ce_weight),
            "hint": Term(torch.stack(gaps).sum(), self.params.hint_weight),
        }

    def _maps(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Of each hinted stage, the student's map behind its regressor and the teacher's."""
        pairs = zip(self.pairs, self.regressors, strict=True)
        return [(regressor(student.stages[pair.student]), teacher.stages[pair.teacher]) for pair, regressor in pairs]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``student_<side>`` (behind the regressor) and ``teacher_<side>``: attention maps (B, H, W)."""
        if teacher is None:
            return {}
        with evaluating(self):
            return paired_attention(self.pairs, self._maps(student, teacher))


def _hinted(pairs: list[StagePair], stage: str) -> list[StagePair]:
    if stage == "all":
        return pairs
    return [pairs[-1 if stage == "deepest" else (len(pairs) - 1) // 2]]
