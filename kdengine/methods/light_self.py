"""Lightweight self-distillation with light attention (Ni & Ma. Journal of BUPT 2023(6):66-71).

The abstract says that light attention enters the self-distillation framework, that group and depthwise-separable
convolutions compress a ResNet and VGG11, that the compressed net is the teacher and classifiers at growing depth are
students. Everything else is a reconstruction: the frame is BYOT (`kdengine.methods.byot`) with one attention block
before each branch, the place where SCAN (ArchipLab-LinfengZhang/pytorch-scalable-neural-networks) has a heavy one; the
branches are depthwise-separable. The compressed nets are in the catalog of models; any other net with two stage maps
works too.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from kdengine.methods.base import Context, InspectedArray, register
from kdengine.methods.byot import BeYourOwnTeacher, ByotParams
from kdengine.models.backbone import Outputs, evaluating
from kdengine.models.blocks import CBAM, ECA, SimAM
from kdengine.spec.fields import setting

Attention = Literal["simam", "eca", "cbam", "none"]


class LightSelfParams(ByotParams):
    """Parameters of light self-distillation: those of BYOT, and the attention before each branch."""

    attention: Attention = setting(
        "simam",
        title="Attention",
        description=(
            "What weighs a shallow stage before its branch: SimAM by place and channel without weights, ECA by "
            "channel, CBAM by channel and place; none = plain BYOT with light branches."
        ),
        source="our choice; the abstract asks for negligible cost, which the three have",
    )


@register
class LightSelfDistillation(BeYourOwnTeacher):
    """BYOT, each exit looking at its stage through a light attention."""

    name = "light_self"
    title = "Light self-distillation"
    description = "Exits with light attention on the student's shallow stages learn from its deepest one."
    when = "Without a teacher, for a compressed network with early exits."
    paper = "Ni, Ma: Lightweight self-distillation, Journal of BUPT 2023(6) (reconstructed from its abstract)"
    family = "self-distillation"
    Params = LightSelfParams
    captions = {  # noqa: RUF012
        "mask": "brighter = the light attention of this exit keeps the place",
    }
    params: LightSelfParams

    def __init__(self, params: LightSelfParams, context: Context) -> None:
        super().__init__(params, context)
        self.attentions = nn.ModuleList(
            make_attention(params.attention, channels) for channels, _, _ in context.student.stages[:-1]
        )

    def exit_outputs(self, index: int, student: Outputs) -> tuple[Tensor, Tensor]:
        """Pooled feature (B, D) and logits (B, classes) of one exit."""
        found: tuple[Tensor, Tensor] = self.branches[index](self.attentions[index](student.stages[index]))
        return found

    def head(self, index: int) -> tuple[nn.Module, ...]:
        """Attention and branch of one exit."""
        return self.attentions[index], self.branches[index]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``mask_<n>`` of each exit: by place, a mean over channels (B, H, W); for ECA by channel (B, C)."""
        if self.params.attention == "none":
            return {}
        arrays = {}
        with evaluating(self):
            for index, attention in enumerate(self.attentions):
                mask = attention.mask(student.stages[index])  # type: ignore[operator]
                if self.params.attention == "eca":
                    arrays[f"mask_{index + 1}"] = InspectedArray(mask.flatten(1), "vector")
                else:
                    arrays[f"mask_{index + 1}"] = InspectedArray(mask.mean(1), "map")
        return arrays


def make_attention(kind: Attention, channels: int) -> nn.Module:
    """A light attention for maps of that many channels; for "none" the identity."""
    if kind == "simam":
        return SimAM()
    if kind == "eca":
        return ECA(channels)
    if kind == "cbam":
        return CBAM(channels)
    return nn.Identity()
