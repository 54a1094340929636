"""Attention inside and outside the subject: masks from where a map is strong, and what two maps look at in each region.

The abstract of adaptive mixed attention (Zhou et al., ICNC-FSKD 2024) speaks of foreground and background knowledge;
that of its close relative (Tang, Chen: dynamic mixed attention, Control and Decision 2024, 39(12)) of masks from the
self-teacher's attention that split background from subject. The formulas are ours, built on attention transfer
(`kdengine.losses.at`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full

MIN_SPREAD = 1e-3
"""Standard deviation over mean that is added, in squares, where a map is standardized."""
EPS = 1e-6


def energy(feature: Tensor) -> Tensor:
    """Mean over channels of the squared activation: (B, C, H, W) -> (B, H, W), float32."""
    return full(feature).square().mean(1)


def mean_threshold(attention: Tensor) -> Tensor:
    """Mean of each map: (B, H, W) -> (B, 1, 1)."""
    return full(attention).mean((1, 2), keepdim=True)


def top_threshold(attention: Tensor, share: float) -> Tensor:
    """Half-way between the strongest ``share`` of the places of each map and the rest: (B, H, W) -> (B, 1, 1)."""
    values = full(attention).flatten(1).sort(dim=1).values
    places = values.shape[1]
    background = min(max(round((1 - share) * places), 1), places - 1) if places > 1 else 0
    below = values[:, max(background - 1, 0)]
    return ((below + values[:, background]) / 2).view(-1, 1, 1)


def otsu_threshold(attention: Tensor) -> Tensor:
    """The threshold that parts each map into two groups as far apart as can be: (B, H, W) -> (B, 1, 1).

    Otsu: A Threshold Selection Method from Gray-Level Histograms, 1979, on the values themselves, without a histogram.
    """
    values = full(attention).flatten(1).sort(dim=1).values
    places = values.shape[1]
    if places == 1:
        return values.view(-1, 1, 1)
    below = torch.arange(1, places, device=values.device)
    sums = values.cumsum(dim=1)
    gap = (sums[:, -1:] - sums[:, :-1]) / (places - below) - sums[:, :-1] / below
    between = below * (places - below) * gap.square()
    split = between.argmax(dim=1, keepdim=True)
    return ((values.gather(1, split) + values.gather(1, split + 1)) / 2).view(-1, 1, 1)


def hard_mask(attention: Tensor, threshold: Tensor | None = None) -> Tensor:
    """1 where a map is above its threshold, 0 elsewhere; 0 everywhere in a constant map.

    Args:
        attention: (B, H, W), >= 0.
        threshold: (B, 1, 1); None = the map's mean.

    Returns:
        (B, H, W) of 0 and 1, float32: the foreground. The background is 1 - mask.
    """
    above = attention > (mean_threshold(attention) if threshold is None else threshold)
    return above.to(full(attention).dtype)


def soft_mask(attention: Tensor, sharpness: float, threshold: Tensor | None = None) -> Tensor:
    """sigmoid(sharpness x (map - threshold) / standard deviation); 1/2 everywhere in a constant map.

    Args:
        attention: (B, H, W), >= 0; its scale does not count.
        sharpness: > 0; towards infinity it becomes the hard mask.
        threshold: (B, 1, 1); None = the map's mean.

    Returns:
        (B, H, W) in (0, 1), float32: the foreground. What lies near the threshold belongs to both regions.
    """
    attention = full(attention)
    mean = mean_threshold(attention)
    scale = mean.clamp(min=EPS**2)
    spread = (((attention - mean) / scale).square().mean((1, 2), keepdim=True) + MIN_SPREAD**2).sqrt()
    above = (attention - (mean if threshold is None else threshold)) / scale
    return torch.sigmoid(sharpness * above / spread)


def region_attention(attention: Tensor, region: Tensor) -> Tensor:
    """The part of a map inside a region, scaled to unit length.

    Args:
        attention: (B, H, W), >= 0.
        region: (B, H, W) in 0..1.

    Returns:
        (B, H, W), float32; zeros where the region is empty or the map is 0 in it.
    """
    inside = (full(region) * full(attention)).flatten(1)
    return F.normalize(inside, dim=1, eps=EPS).view_as(attention)


def region_distance(student: Tensor, teacher: Tensor, region: Tensor) -> Tensor:
    """Squared distance of what two maps look at inside a region.

    Args:
        student: attention (B, H, W), >= 0.
        teacher: attention (B, H, W).
        region: (B, H, W) in 0..1.

    Returns:
        (B,), float32, in 0..2: 0 where both look at the same places of the region or it is empty; a sum over places, so
        that its size does not depend on the map's.
    """
    gap = region_attention(student, region) - region_attention(teacher, region)
    return gap.square().sum((1, 2))


def energy_share(attention: Tensor, region: Tensor) -> Tensor:
    """Share of a map that lies inside a region: (B, H, W) twice -> (B,) in 0..1; 0 for a map of zeros."""
    attention = full(attention)
    return (full(region) * attention).sum((1, 2)) / attention.sum((1, 2)).clamp(min=EPS**2)
