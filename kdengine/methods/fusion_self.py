"""Feature map fusion self-distillation (Qin, Ni, Zhu, Jia, Liu, Chen. Electronics 2025, 14(1):182).

The abstract gives the fusion: a spatial enhancement module makes a mask of each exit's map, the masks are averaged,
the mean mask is applied to each map (intermediate maps), and these are averaged to the fused map. Everything else is a
reconstruction: the enhancement is SGE (`kdengine.models.blocks.SpatialGroupEnhance`), the loss frame BYOT with the
fused logits as teacher, the branches depthwise-separable. The fused map and each exit's map are brought to equal mean
square before they are compared, because an untrained mask (0.731 everywhere) makes the fused one smaller.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.losses import kd
from kdengine.losses.precision import full
from kdengine.methods._settings import temperature_setting, weight_setting
from kdengine.methods.base import (
    BatchLike,
    Context,
    Exit,
    InspectedArray,
    Method,
    Needs,
    Network,
    Term,
    register,
)
from kdengine.models.backbone import Outputs, evaluating
from kdengine.models.blocks import SpatialGroupEnhance
from kdengine.models.blocks.branch import Branch
from kdengine.spec.fields import Settings, setting

DEAD = 1e-8
"""Added to a map's mean square, so that a map of zeros can be scaled."""


class FusionSelfParams(Settings):
    """Parameters of feature map fusion self-distillation."""

    temperature: float = temperature_setting(
        3.0,
        description="Softens the logits of the exits and of their teacher.",
        source="our choice; that of BYOT and SCAN",
        tune=(1.0, 8.0),
    )
    kd_weight: float = weight_setting(
        0.3,
        title="Prediction weight",
        description="Weight of the divergence of each exit from the teacher's softened probabilities.",
        source="our choice; public self-distillation codes use 0.1 to 0.5",
        tune=(0.05, 2.0),
    )
    feature_weight: float = weight_setting(
        0.03,
        title="Feature weight",
        description="Weight of the squared difference between a shallow exit's map and the teacher's.",
        source="our choice; .03 in ArchipLab-LinfengZhang/pytorch-self-distillation-final, on a distance",
        tune=(0.001, 1.0),
    )
    taught_by: Literal["fused", "deepest", "both"] = setting(
        "fused",
        title="Teacher of the exits",
        description="Whose logits and map the exits learn from: the fused map's, the deepest exit's (BYOT), or both.",
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


class _ExitOutputs(NamedTuple):
    """Maps and logits of the shallow exits; the deepest map stands last in ``maps``."""

    maps: list[Tensor]
    logits: list[Tensor]


@register
class FusionSelfDistillation(Method):
    """L = CE of all exits and the fused map + kd_weight * T² KL to the teacher + feature_weight * map differences."""

    name = "fusion_self"
    title = "Feature map fusion"
    description = "Maps of exits at all depths are fused under a common mask, and the exits learn from the fused one."
    when = "Without a teacher, where maps of all depths should agree."
    paper = "Qin, Ni, Zhu, Jia, Liu, Chen: Feature Map Fusion, Electronics 14(1):182, 2025 (from its abstract)"
    family = "self-distillation"
    mixes = True
    Params = FusionSelfParams
    captions = {  # noqa: RUF012
        "mask": "brighter = this branch keeps the place",
        "mean_mask": "the mean of all branches' masks",
        "intermediate": "a branch's map under the mean mask",
        "fused": "the map that all branches learn from",
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
        outputs = student(batch.image)
        shallow = self._exit_outputs(outputs)
        fused = self.fusion(shallow.maps)
        fused_logits = self._classify(fused.map)
        labels = [self.cross_entropy(logits, batch.target) for logits in shallow.logits]
        divergences, features = [], []
        # Detached where it teaches, not where it learns from the labels: that is how the exits reach each other.
        if self.params.taught_by in ("fused", "both"):
            divergences.append(self._divergence([*shallow.logits, outputs.logits], fused_logits.detach()))
            features.append(self._difference(shallow.maps[:-1], fused.map.detach()))
        if self.params.taught_by in ("deepest", "both"):
            divergences.append(self._divergence(shallow.logits, outputs.logits.detach()))
            features.append(self._difference(shallow.maps[:-1], shallow.maps[-1].detach()))
        return {
            "ce": Term(self.cross_entropy(outputs.logits, batch.target), 1.0),
            "ce_exits": Term(torch.stack(labels).sum(), 1.0),
            "ce_fused": Term(self.cross_entropy(fused_logits, batch.target), 1.0),
            "kd_exits": Term(torch.stack(divergences).mean(), self.params.kd_weight),
            "features": Term(torch.stack(features).mean(), self.params.feature_weight),
        }

    def exits(self) -> list[Exit]:
        """One exit a shallow stage, and ``fused``."""

        def head(index: int) -> Exit:
            branch = self.branches[index]
            return Exit(f"exit {index + 1}", lambda outputs: branch(outputs.stages[index])[1], index, (branch,))

        parts = (*self.branches, self.fusion, self.classifier)

        def fused_logits(student: Outputs) -> Tensor:
            return self._classify(self.fusion(self._exit_outputs(student).maps).map)

        fused = Exit("fused", fused_logits, parts=parts)
        return [*(head(index) for index in range(self.last)), fused]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """Means over channels, (B, H, W): ``mask_<n>``, ``mean_mask``, ``intermediate_<n>`` and ``fused``.

        The highest number is the deepest map's.
        """
        with evaluating(self):
            maps = self._exit_outputs(student).maps
            fused = self.fusion(maps)
        named = {f"mask_{index + 1}": mask for index, mask in enumerate(fused.masks)}
        named["mean_mask"] = fused.mean_mask
        named |= {f"intermediate_{index + 1}": fused.mean_mask * x for index, x in enumerate(maps)}
        named["fused"] = fused.map
        return {name: InspectedArray(full(values).mean(1), "map") for name, values in named.items()}

    def _exit_outputs(self, student: Outputs) -> _ExitOutputs:
        stages = student.stages[: self.last]
        maps = [branch.map(stage) for branch, stage in zip(self.branches, stages, strict=True)]  # type: ignore[operator]
        logits = [branch.classifier(_pooled(x)) for branch, x in zip(self.branches, maps, strict=True)]  # type: ignore[operator]
        return _ExitOutputs([*maps, student.stages[self.last].to(maps[0].dtype)], logits)

    def _classify(self, fused: Tensor) -> Tensor:
        found: Tensor = self.classifier(_pooled(fused))
        return found

    def _divergence(self, exits: list[Tensor], teacher: Tensor) -> Tensor:
        return torch.stack([kd(logits, teacher, self.params.temperature) for logits in exits]).sum()

    def _difference(self, exits: list[Tensor], teacher: Tensor) -> Tensor:
        wanted = _scaled(teacher)
        return torch.stack([F.mse_loss(_scaled(x), wanted) for x in exits]).sum()


def _pooled(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def _scaled(x: Tensor) -> Tensor:
    """Each map of the batch with mean square 1, in at least float32."""
    wide = full(x)
    return wide * torch.rsqrt(wide.square().mean((1, 2, 3), keepdim=True) + DEAD)
