"""Self-distillation from mixup (Yang et al., ECCV 2022): the prediction for a blend, and the blend of predictions.

Official code: winycg/Self-KD-Lib, main_mixskd_cifar.py, models/resnet_mixskd.py, methods/adversarial.py. What it does
and is not copied: the cross-entropies of blended images and of the fused head are computed and not summed, so that
the fused head, which teaches, never learns. Deviations: branches are depthwise-separable (see `Branch`), where the code
repeats the net's own stages; the fused head works on pooled features, which is the same, since it is linear; the
discriminators have one output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.losses import hint, kd
from kdengine.losses.precision import full
from kdengine.methods._inspecting import attention_array
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
from kdengine.models.blocks.branch import Branch
from kdengine.spec.fields import Settings, setting

HIDDEN = 128


class MixSkdParams(Settings):
    """Parameters of self-distillation from mixup."""

    alpha: float = setting(
        0.4, title="Mixup alpha", source="Self-KD-Lib, CIFAR-100: 0.4",
        description="Shares of the blends are drawn from Beta(alpha, alpha): low = nearly plain.",
        gt=0, le=10, tune=(0.1, 2.0), log=True,
    )  # fmt: skip
    temperature: float = temperature_setting(
        3.0, description="Softens the logits.", source="Self-KD-Lib", tune=(1.0, 8.0)
    )
    kd_weight: float = weight_setting(
        title="Prediction weight",
        description="Weight of the gap between both kinds of predictions.",
        source="Self-KD-Lib",
        tune=(0.1, 4.0),
    )
    feature_weight: float = weight_setting(
        title="Feature weight",
        description="Weight of the squared gap between both kinds of maps.",
        source="Self-KD-Lib",
        tune=(0.1, 4.0),
    )
    discriminator_weight: float = weight_setting(
        title="Discriminator weight",
        description="Weight of telling both kinds of maps apart, so that they do not become trivial; 0 = leave it out.",
        source="Self-KD-Lib",
    )


@dataclass(frozen=True, eq=False)
class MixedBatch:
    """A batch and its blend.

    Attributes:
        views: the images, and the blends ``share * image + (1 - share) * partner's image``, each (B, 3, H, W).
        target: class indices (B,).
        index: number of each sample (B,).
        partner: place in the batch of each image's partner (B,).
        share: of the image itself, a scalar in 0..1.
    """

    views: tuple[Tensor, ...]
    target: Tensor
    index: Tensor
    partner: Tensor
    share: Tensor

    @property
    def image(self) -> Tensor:
        """The plain images."""
        return self.views[0]


class _HeadOutputs(NamedTuple):
    """Of each head, shallow to deep: logits of the images, their blends, logits of the blends; the same of maps."""

    plain: list[Tensor]
    blended: list[Tensor]
    mixed: list[Tensor]
    blended_maps: list[Tensor]
    mixed_maps: list[Tensor]


@register
class MixupSelf(Method):
    """L = CE of all heads, plain and blended + k T² KL + f squared gap + d discriminators, of blends and blended."""

    name = "mix_skd"
    title = "Mixup (MixSKD)"
    description = (
        "Exits and a fused head: the prediction for two blended images is the blend of the predictions for each."
    )
    when = "Without a teacher, where Mixup suits the data."
    paper = "Yang, An, Zhou, Zhang, Xu, Xu: MixSKD: Self-Knowledge Distillation from Mixup, ECCV 2022"
    family = "self-distillation"
    Params = MixSkdParams
    captions = {  # noqa: RUF012
        "exit": "where an exit looks",
        "deepest": "where the whole network does",
    }
    params: MixSkdParams

    def __init__(self, params: MixSkdParams, context: Context) -> None:
        super().__init__(params, context)
        stages = context.student.stages
        if len(stages) < 2:
            message = f"{self.name} attaches exits to shallow stages; the student has {len(stages)} stage maps"
            raise BadInput(Problem("student", message + ", expected two or more"))
        width = stages[-1][0]
        self.branches = nn.ModuleList(Branch(stage, stages[-1], context.classes) for stage in stages[:-1])
        self.fusion = nn.Sequential(
            nn.Linear(width * len(stages), width, bias=False), nn.Linear(width, context.classes)
        )
        judged = len(stages) if params.discriminator_weight > 0 else 0
        self.discriminators = nn.ModuleList(
            nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)) for _ in range(judged)
        )

    @classmethod
    def requires(cls, params: MixSkdParams) -> Needs:
        """Stage maps of the student; no teacher."""
        blends = "blends images with partners from the whole batch, and the predictions for them"
        return Needs(student=("logits", "stages"), batch_relations=blends)

    def prepare(self, batch: Any) -> MixedBatch:
        """Adds the blends, by random numbers of the global generator."""
        images = batch.image
        partner = torch.randperm(len(images), device=images.device)
        concentration = torch.tensor(self.params.alpha)
        drawn = torch.distributions.Beta(concentration, concentration, validate_args=False).sample()
        # Filled in, not copied: a copy of one number would make the host wait for the device.
        share = images.new_full((), float(drawn))
        blend = share * images + (1 - share) * images[partner]
        return MixedBatch((images, blend), batch.target, batch.index, partner, share)

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce`` (plain images), ``ce_mixed`` (blends), ``kd``, ``features`` and ``discriminator``."""
        assert isinstance(batch, MixedBatch)
        params = self.params
        heads = self._head_outputs(student(torch.cat(batch.views)), batch)
        fused_blended, fused_mixed = self._fuse(heads.blended_maps), self._fuse(heads.mixed_maps)
        labels = torch.stack([self.cross_entropy(logits, batch.target) for logits in heads.plain]).sum()
        of_blends = (*heads.mixed, fused_blended, fused_mixed)
        blends = torch.stack([self._mixed_labels(logits, batch) for logits in of_blends]).sum()
        pairs = self._student_teacher_pairs(heads, fused_blended, fused_mixed)
        divergences = [kd(learns, teaches.detach(), params.temperature) for learns, teaches in pairs]
        gaps = [hint(one, other) for one, other in zip(heads.blended_maps, heads.mixed_maps, strict=True)]
        terms = {
            "ce": Term(labels, 1.0),
            "ce_mixed": Term(blends, 1.0),
            "kd": Term(torch.stack(divergences).sum(), params.kd_weight),
            "features": Term(torch.stack(gaps).sum(), params.feature_weight),
        }
        if self.discriminators:
            discrimination = self._discriminate(heads.blended_maps, heads.mixed_maps)
            terms["discriminator"] = Term(discrimination, params.discriminator_weight)
        return terms

    # parts of the forward pass ---------------------------------------------------------------------------------------

    def _head_outputs(self, student: Outputs, batch: MixedBatch) -> _HeadOutputs:
        """Logits and maps of all heads for images and blends, which passed the net as one batch."""
        maps = self._maps(student)
        logits = [one.chunk(2) for one in self._logits(maps, student)]
        halves = [full(one).chunk(2) for one in maps]
        return _HeadOutputs(
            plain=[plain for plain, _ in logits],
            blended=[_blend(plain, batch) for plain, _ in logits],
            mixed=[mixed for _, mixed in logits],
            blended_maps=[_blend(plain, batch) for plain, _ in halves],
            mixed_maps=[mixed for _, mixed in halves],
        )

    def _maps(self, student: Outputs) -> list[Tensor]:
        """Maps of all heads, shallow to deep, each of the deepest stage's shape."""
        shallow = [branch.map(stage) for branch, stage in zip(self.branches, student.stages, strict=False)]  # type: ignore[operator]
        return [*shallow, student.stages[-1]]

    def _logits(self, maps: list[Tensor], student: Outputs) -> list[Tensor]:
        """Logits of the branches, and the student's own."""
        shallow = [branch.classifier(_pool(one)) for branch, one in zip(self.branches, maps, strict=False)]  # type: ignore[operator]
        return [*shallow, student.logits]

    def _fuse(self, maps: list[Tensor]) -> Tensor:
        """Logits of the fused head."""
        found: Tensor = self.fusion(torch.cat([_pool(one) for one in maps], dim=1))
        return found

    def _mixed_labels(self, logits: Tensor, batch: MixedBatch) -> Tensor:
        first, second = (self.cross_entropy(logits, labels) for labels in (batch.target, batch.target[batch.partner]))
        return batch.share * first + (1 - batch.share) * second

    @staticmethod
    def _student_teacher_pairs(
        heads: _HeadOutputs, fused_blended: Tensor, fused_mixed: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Which logits learn from which: in each exit both kinds from each other; the net's own from the fused head."""
        exits = zip(heads.blended[:-1], heads.mixed[:-1], strict=True)
        mutual = [pair for one, two in exits for pair in ((one, two), (two, one))]
        return [*mutual, (heads.blended[-1], fused_mixed), (heads.mixed[-1], fused_blended)]

    def _discriminate(self, blended: list[Tensor], mixed: list[Tensor]) -> Tensor:
        losses = []
        for judge, one, two in zip(self.discriminators, blended, mixed, strict=True):
            scores = full(judge(torch.cat([_pool(one), _pool(two)]))).squeeze(1)
            kinds = torch.cat([torch.ones_like(scores[: len(one)]), torch.zeros_like(scores[len(one) :])])
            losses.append(F.binary_cross_entropy_with_logits(scores, kinds))
        return torch.stack(losses).sum()

    # what others ask -------------------------------------------------------------------------------------------------

    def exits(self) -> list[Exit]:
        """One exit a shallow stage, and the fused head, which needs the whole net."""

        def exit_at(index: int, branch: Branch) -> Exit:
            return Exit(f"exit {index + 1}", lambda student: branch(student.stages[index])[1], index, (branch,))

        found = [exit_at(index, branch) for index, branch in enumerate(self.branches)]  # type: ignore[arg-type]
        parts = (self.branches, self.fusion)
        return [*found, Exit("fused", lambda student: self._fuse(self._maps(student)), parts=parts)]

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """``exit_<n>`` and ``deepest``: attention maps (B, H, W) of the heads, all of the deepest side."""
        with evaluating(self):
            maps = self._maps(student)
        names = [*(f"exit_{number + 1}" for number in range(len(maps) - 1)), "deepest"]
        return {name: attention_array(one) for name, one in zip(names, maps, strict=True)}


def _blend(values: Tensor, batch: MixedBatch) -> Tensor:
    return batch.share * values + (1 - batch.share) * values[batch.partner]


def _pool(maps: Tensor) -> Tensor:
    return full(maps).mean(dim=(2, 3))
