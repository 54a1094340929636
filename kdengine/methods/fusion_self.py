"""Feature map fusion self-distillation (Qin, Ni, Zhu, Jia, Liu, Chen. Electronics 2025, 14(1):182).

The abstract gives the fusion: a spatial enhancement module makes a mask of each exit's map, the masks are averaged,
the mean mask is applied to each map (intermediate maps), and these are averaged to the fused map. Everything else is a
reconstruction: the enhancement is SGE (`kdengine.models.blocks.SpatialGroupEnhance`), the loss frame BYOT with the
fused answer as teacher, the branches depthwise-separable. The fused map and each exit's map are brought to equal mean
square before they are compared, because an untrained mask (0.731 everywhere) makes the fused one smaller.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.fields import Settings, setting
from kdengine.losses import kd
from kdengine.methods.base import (
    BatchLike,
    Context,
    Exit,
    InspectedArray,
    Method,
    Needs,
    Network,
    Outputs,
    Term,
    register,
)
from kdengine.models.backbone import evaluating
from kdengine.models.blocks import SpatialGroupEnhance
from kdengine.models.blocks.branch import Branch

DEAD = 1e-8
"""Added to a map's mean square, so that a map of zeros can be scaled."""


class FusionSelfParams(Settings):
    """Parameters of feature map fusion self-distillation."""

    temperature: float = setting(
        3.0,
        title="Temperature",
        description="Softens the answers of the exits and of their teacher.",
        source="our choice; that of BYOT and SCAN",
        gt=0,
        le=100,
        tune=(1.0, 8.0),
        log=True,
    )
    kd_weight: float = setting(
        0.3,
        title="Answer weight",
        description="Weight of the divergence of each exit from the teacher's softened answer.",
        source="our choice; public self-distillation codes use 0.1 to 0.5",
        ge=0,
        le=100,
        tune=(0.05, 2.0),
        log=True,
    )
    feature_weight: float = setting(
        0.03,
        title="Feature weight",
        description="Weight of the squared difference between a shallow exit's map and the teacher's.",
        source="our choice; .03 in ArchipLab-LinfengZhang/pytorch-self-distillation-final, on a distance",
        ge=0,
        le=100,
        tune=(0.001, 1.0),
        log=True,
    )
    taught_by: Literal["fused", "deepest", "both"] = setting(
        "fused",
        title="Taught by",
        description="Whose answer and map the exits learn from: the fused map's, the deepest exit's (BYOT), or both.",
        source="our choice; the abstract lets the fused map teach",
    )
    groups: int = setting(
        64,
        title="Groups",
        description="Groups of channels, each with its mask, at most: the largest number that divides the channels.",
        source="implus/PytorchInsight",
        ge=1,
        le=1024,
        advanced=True,
    )


class Fused(NamedTuple):
    """What the fusion makes of maps F_i, all (B, C, H, W): masks M_i, their mean, and mean mask x mean of F_i."""

    masks: tuple[Tensor, ...]
    mean_mask: Tensor
    map: Tensor


class FeatureFusion(nn.Module):
    """Masks of all maps, averaged, applied to the maps, which are averaged.

    ``mean_i(M F_i) = M mean_i(F_i)`` for the mean mask M: one product does for all intermediate maps M F_i.

    Args:
        count: number of maps.
        groups: groups of channels of each mask; must divide the channels.
    """

    def __init__(self, count: int, groups: int) -> None:
        super().__init__()
        self.enhancers = nn.ModuleList(SpatialGroupEnhance(groups) for _ in range(count))

    def forward(self, maps: list[Tensor]) -> Fused:
        """Maps (B, C, H, W), as many as ``count``."""
        masks = tuple(enhancer.mask(x) for enhancer, x in zip(self.enhancers, maps, strict=True))  # type: ignore[operator]
        mean_mask = torch.stack(masks).mean(0)
        return Fused(masks, mean_mask, mean_mask * torch.stack(maps).mean(0))


class _Answers(NamedTuple):
    """Maps and logits of the shallow exits; the deepest map stands last in ``maps``."""

    maps: list[Tensor]
    logits: list[Tensor]


@register
class FusionSelfDistillation(Method):
    """L = CE of all exits and the fused map + kd_weight * T² KL to the teacher + feature_weight * map differences."""

    name = "fusion_self"
    title = "Feature map fusion"
    description = "Maps of exits at all depths are fused under a common mask, and the fused answer teaches the exits."
    paper = "Qin, Ni, Zhu, Jia, Liu, Chen: Feature Map Fusion, Electronics 14(1):182, 2025 (from its abstract)"
    family = "self-distillation"
    mixes = True
    Params = FusionSelfParams
    captions = {  # noqa: RUF012
        "mask": "brighter = this branch keeps the place",
        "mean_mask": "the mean of all branches' masks",
        "intermediate": "a branch's map under the mean mask",
        "fused": "the map that teaches all branches",
    }
    params: FusionSelfParams

    def __init__(self, params: FusionSelfParams, context: Context) -> None:
        super().__init__(params, context)
        stages = context.student.stages
        # A mask over one place says nothing: the branches lead to the last map that has more.
        usable = [index for index, (_, height, width) in enumerate(stages) if min(height, width) > 1]
        if len(usable) < 2:
            message = (
                f"{self.name} fuses maps of several depths; the student has {len(usable)} stage maps of 2x2 or more, "
                "expected two or more"
            )
            raise BadInput(Problem("student", message))
        self.last = usable[-1]
        end = stages[self.last]
        self.branches = nn.ModuleList(Branch(stage, end, context.classes) for stage in stages[: self.last])
        groups = max(number for number in range(1, min(params.groups, end[0]) + 1) if end[0] % number == 0)
        self.fusion = FeatureFusion(self.last + 1, groups)
        self.classifier = nn.Linear(end[0], context.classes)

    @classmethod
    def requires(cls, params: FusionSelfParams) -> Needs:
        """Stage maps of the student; no teacher."""
        return Needs(student=("logits", "stages"), batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` (deepest exit), ``ce_exits``, ``ce_fused``, ``kd_exits`` and ``features``."""
        own = student(batch.image)
        shallow = self._answers(own)
        fused = self.fusion(shallow.maps)
        fused_logits = self._classify(fused.map)
        labels = [self.cross_entropy(logits, batch.target) for logits in shallow.logits]
        answers, features = [], []
        # Detached where it teaches, not where it learns from the labels: that is how the exits reach each other.
        if self.params.taught_by in ("fused", "both"):
            answers.append(self._divergence([*shallow.logits, own.logits], fused_logits.detach()))
            features.append(self._difference(shallow.maps[:-1], fused.map.detach()))
        if self.params.taught_by in ("deepest", "both"):
            answers.append(self._divergence(shallow.logits, own.logits.detach()))
            features.append(self._difference(shallow.maps[:-1], shallow.maps[-1].detach()))
        return {
            "ce": Term(self.cross_entropy(own.logits, batch.target), 1.0),
            "ce_exits": Term(torch.stack(labels).sum(), 1.0),
            "ce_fused": Term(self.cross_entropy(fused_logits, batch.target), 1.0),
            "kd_exits": Term(torch.stack(answers).mean(), self.params.kd_weight),
            "features": Term(torch.stack(features).mean(), self.params.feature_weight),
        }

    def exits(self) -> list[Exit]:
        """One exit a shallow stage, and ``fused``."""

        def head(index: int) -> Exit:
            branch = self.branches[index]
            return Exit(f"exit {index + 1}", lambda outputs: branch(outputs.stages[index])[1], index, (branch,))

        parts = (*self.branches, self.fusion, self.classifier)
        fused = Exit("fused", lambda own: self._classify(self.fusion(self._answers(own).maps).map), parts=parts)
        return [*(head(index) for index in range(self.last)), fused]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """Means over channels, (B, H, W): ``mask_<n>``, ``mean_mask``, ``intermediate_<n>`` and ``fused``.

        The highest number is the deepest map's.
        """
        with evaluating(self):
            maps = self._answers(student).maps
            fused = self.fusion(maps)
        named = {f"mask_{index + 1}": mask for index, mask in enumerate(fused.masks)}
        named["mean_mask"] = fused.mean_mask
        named |= {f"intermediate_{index + 1}": fused.mean_mask * x for index, x in enumerate(maps)}
        named["fused"] = fused.map
        return {name: InspectedArray(values.float().mean(1), "map") for name, values in named.items()}

    def _answers(self, own: Outputs) -> _Answers:
        maps = [branch.map(stage) for branch, stage in zip(self.branches, own.stages[: self.last], strict=True)]  # type: ignore[operator]
        logits = [branch.classifier(_pooled(x)) for branch, x in zip(self.branches, maps, strict=True)]  # type: ignore[operator]
        return _Answers([*maps, own.stages[self.last].to(maps[0].dtype)], logits)

    def _classify(self, fused: Tensor) -> Tensor:
        return self.classifier(_pooled(fused))

    def _divergence(self, learners: list[Tensor], guide: Tensor) -> Tensor:
        return torch.stack([kd(logits, guide, self.params.temperature) for logits in learners]).sum()

    def _difference(self, learners: list[Tensor], guide: Tensor) -> Tensor:
        wanted = _scaled(guide)
        return torch.stack([F.mse_loss(_scaled(x), wanted) for x in learners]).sum()


def _pooled(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def _scaled(x: Tensor) -> Tensor:
    """Each map of the batch, in float32, with mean square 1."""
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean((1, 2, 3), keepdim=True) + DEAD)
