"""Self-distillation with adaptive mixed attention, AMA (Zhou, Qiu, Xiang, Tao, Liang, Guo. ICNC-FSKD 2024).

The abstract says that attention is adjusted according to the feature maps, and that foreground and background
knowledge are both used. Its close relative (Tang, Chen: dynamic mixed attention, Control and Decision 2024, 39(12))
names a self-teacher, whose attention makes the masks, and a ratio of the two regions that follows the predicted
probability.
Everything else is a reconstruction on FRSKD (`kdengine.methods.frskd`); formulas in `kdengine.losses.regions`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.losses.precision import full
from kdengine.losses.regions import (
    energy,
    energy_share,
    hard_mask,
    mean_threshold,
    otsu_threshold,
    region_attention,
    region_distance,
    soft_mask,
    top_threshold,
)
from kdengine.methods._self_teacher import SelfTeacherMethod, SelfTeacherParams
from kdengine.methods._settings import share_setting, warm_up_setting, weight_setting
from kdengine.methods._warm_up import warm_up
from kdengine.methods.base import BatchLike, Context, InspectedArray, Term, register
from kdengine.models.backbone import Outputs
from kdengine.spec.fields import setting


class AmaSelfParams(SelfTeacherParams):
    """Parameters of adaptive mixed attention."""

    attention_weight: float = weight_setting(
        2.0,
        title="Attention weight",
        description="Weight of foreground and background together; sums over places, larger than FRSKD's means.",
        source="our choice; brings terms and gradients near FRSKD's at its weight of 100 (measured on resnet18)",
        le=1e3,
        tune=(0.1, 10.0),
    )
    mask: Literal["soft", "hard"] = setting(
        "soft",
        title="Mask",
        description=(
            "How the self-teacher's attention splits the image: soft lets what is near the mean belong to both "
            "regions; hard is 0 or 1, and jumps on maps of few places."
        ),
        source="our choice",
    )
    sharpness: float = setting(
        4.0,
        title="Sharpness",
        description="Steepness of the soft mask, in standard deviations of the attention.",
        source="our choice",
        gt=0,
        le=100,
        tune=(1.0, 16.0),
        when={"mask": ("soft",)},
        log=True,
        advanced=True,
    )
    threshold: Literal["mean", "otsu", "top"] = setting(
        "mean",
        title="Threshold",
        description="Where the foreground begins: above the map's mean, by Otsu's split, or a share of the places.",
        source="our choice",
        advanced=True,
    )
    top_share: float = setting(
        0.4,
        title="Foreground places",
        description="Share of the places that is foreground, where the threshold is a share.",
        source="our choice; the mean threshold leaves about as many on random maps",
        gt=0,
        lt=1,
        tune=(0.1, 0.7),
        when={"threshold": ("top",)},
        advanced=True,
    )
    ratio: Literal["feature", "probability", "learned", "fixed"] = setting(
        "feature",
        title="Foreground share",
        description=(
            "What divides the loss between the regions: the foreground's share of the attention (AMA); the "
            "self-teacher's probability of the true class (DMA); a small learned layer; or a fixed number."
        ),
        source="our choice; AMA's abstract: by the feature maps, DMA's: by the predicted probability",
    )
    ratio_low: float = share_setting(
        0.2,
        title="Least share",
        description="The foreground's share never falls below this.",
        source="our choice",
        advanced=True,
    )
    ratio_high: float = share_setting(
        0.8,
        title="Largest share",
        description="The foreground's share never rises above this.",
        source="our choice",
        advanced=True,
    )
    ratio_fixed: float = share_setting(
        2 / 3,
        title="Fixed share",
        description="The foreground's share where it is fixed.",
        source="FGD's default weights, 2 : 1 (yzd-v/FGD, for detection)",
        tune=(0.2, 0.9),
        when={"ratio": ("fixed",)},
        advanced=True,
    )
    ratio_weight: float = setting(
        0.1,
        title="Share regulariser",
        description="Keeps a learned share off its limits, to which it would otherwise run to lower the loss.",
        source="our choice",
        gt=0,
        le=10,
        tune=(0.01, 1.0),
        when={"ratio": ("learned",)},
        log=True,
        advanced=True,
    )
    warmup: float = warm_up_setting(
        0.05,
        description="Share of the run in which the attention terms rise: masks of an untrained self-teacher are noise.",
        source="our choice; 10 of 200 epochs",
        tune=(0.0, 0.3),
    )


@register
class AdaptiveMixedAttention(SelfTeacherMethod):
    """L = CE + CE(self-teacher) + kd_weight * T² KL + w(epoch) * attention_weight * sum_i [r fg_i + (1 - r) bg_i]."""

    name = "ama_self"
    title = "Adaptive mixed attention (AMA)"
    description = "A self-teacher splits each map into foreground and background, distilled in adaptive shares."
    when = "Without a teacher, where foreground and background differ, as in fine-grained classes."
    paper = "Zhou, Qiu, Xiang, Tao, Liang, Guo: Adaptive Mixed Attention, ICNC-FSKD 2024 (from its abstract)"
    Params = AmaSelfParams
    captions = {  # noqa: RUF012
        "attention": "where the self-teacher looks",
        "hard_mask": "1 = foreground, by a threshold",
        "soft_mask": "brighter = more foreground",
        "foreground": "what the student looks at in the foreground",
        "background": "and in the background",
        "ratio": "the foreground's share of the loss",
    }
    params: AmaSelfParams

    def __init__(self, params: AmaSelfParams, context: Context) -> None:
        super().__init__(params, context)
        if params.ratio_low > params.ratio_high:
            message = f"found {params.ratio_low} above ratio_high = {params.ratio_high}; it must not be larger"
            raise BadInput(Problem("method.ratio_low", message))
        learned = self.attended if params.ratio == "learned" else []
        self.shares = nn.ModuleList(nn.Linear(self.self_teacher.channels[index], 1) for index in learned)

    def attend(
        self, maps: list[tuple[Tensor, Tensor]], teacher_logits: Tensor, batch: BatchLike, clock: Tensor
    ) -> dict[str, Term]:
        """``foreground`` and ``background``; with a learned share also ``ratio``, its regulariser."""
        probability = _probability_of(teacher_logits, batch.target)
        foreground, background, pressure = [], [], []
        for position, (student_map, refined) in enumerate(maps):
            student_attention, attention = energy(student_map), energy(refined)
            mask = self.mask(attention)
            share = self.share(position, refined, attention, mask, probability)
            foreground.append((share * region_distance(student_attention, attention, mask)).mean())
            background.append(((1 - share) * region_distance(student_attention, attention, 1 - mask)).mean())
            if self.shares:
                pressure.append(_barrier(self._score(position, refined)))
        weight = self.params.attention_weight * warm_up(clock, self.params.warmup * self.context.epochs)
        terms = {
            "foreground": Term(torch.stack(foreground).sum(), weight),
            "background": Term(torch.stack(background).sum(), weight),
        }
        if pressure:
            terms["ratio"] = Term(torch.stack(pressure).sum(), self.params.ratio_weight)
        return terms

    def mask(self, attention: Tensor) -> Tensor:
        """The foreground of the self-teacher's attention, (B, H, W) in 0..1; the background is 1 - mask."""
        threshold = self._threshold(attention)
        if self.params.mask == "hard":
            return hard_mask(attention, threshold)
        return soft_mask(attention, self.params.sharpness, threshold)

    def _threshold(self, attention: Tensor) -> Tensor:
        if self.params.threshold == "otsu":
            return otsu_threshold(attention)
        if self.params.threshold == "top":
            return top_threshold(attention, self.params.top_share)
        return mean_threshold(attention)

    def share(self, position: int, refined: Tensor, attention: Tensor, mask: Tensor, probability: Tensor) -> Tensor:
        """The foreground's share r of the loss, of each image; has a gradient only where it is learned.

        Args:
            position: of the stage among those attended.
            refined: the self-teacher's map (B, C, H, W), detached.
            attention: its attention (B, H, W).
            mask: its foreground (B, H, W).
            probability: the self-teacher's probability of the true class (B,), detached.

        Returns:
            (B,), within ratio_low..ratio_high except where it is fixed.
        """
        params = self.params
        if params.ratio == "fixed":
            return torch.full_like(probability, params.ratio_fixed)
        if params.ratio == "learned":
            span = params.ratio_high - params.ratio_low
            return params.ratio_low + span * torch.sigmoid(self._score(position, refined))
        values = probability if params.ratio == "probability" else energy_share(attention, mask)
        return values.clamp(params.ratio_low, params.ratio_high)

    def _score(self, position: int, refined: Tensor) -> Tensor:
        found: Tensor = full(self.shares[position](refined.mean((2, 3))).squeeze(1))
        return found

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """Of each stage: the self-teacher's attention and masks, what the student looks at in each region, the share.

        ``attention_<n>``, ``hard_mask_<n>``, ``soft_mask_<n>``, ``foreground_<n>``, ``background_<n>``: (B, H, W);
        ``ratio_<n>``: (B,). Labels are not known here: the probability ratio takes the self-teacher's prediction.
        """
        arrays: dict[str, InspectedArray] = {}
        maps, teacher_logits = self.refine(student)
        probability = _probability_of(teacher_logits, teacher_logits.argmax(1))
        for position, (number, (student_map, refined)) in enumerate(maps.items()):
            student_attention, attention = energy(student_map), energy(refined)
            mask = self.mask(attention)
            named = {
                "attention": attention,
                "hard_mask": hard_mask(attention, self._threshold(attention)),
                "soft_mask": soft_mask(attention, self.params.sharpness, self._threshold(attention)),
                "foreground": region_attention(student_attention, mask),
                "background": region_attention(student_attention, 1 - mask),
            }
            arrays |= {f"{name}_{number}": InspectedArray(values, "map") for name, values in named.items()}
            share = self.share(position, refined, attention, mask, probability)
            arrays[f"ratio_{number}"] = InspectedArray(share, "vector")
        return arrays


def _probability_of(logits: Tensor, target: Tensor) -> Tensor:
    """Probability (B,) of the true class; of mixed labels (B, C) the mean under their shares."""
    probabilities = F.softmax(full(logits), dim=1)
    if target.ndim == 2:
        return (probabilities * target).sum(1)
    return probabilities.gather(1, target.unsqueeze(1)).squeeze(1)


def _barrier(score: Tensor) -> Tensor:
    """-log(4 s (1 - s)) for s = sigmoid(score): 0 at one half, without bound towards 0 and 1; mean over the batch."""
    return (F.softplus(score) + F.softplus(-score) - 2 * F.softplus(torch.zeros_like(score))).mean()
