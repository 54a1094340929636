"""Attention inside and outside the subject: masks from where a map is strong, and what two maps look at in each region.

The abstract of adaptive mixed attention (Zhou et al., ICNC-FSKD 2024) speaks of foreground and background knowledge;
that of its near twin (Tang, Chen: dynamic mixed attention, Control and Decision 2024, 39(12)) of masks from the
self-teacher's attention that split background from subject. The formulas are ours, built on attention transfer
(`kdengine.losses.at`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_SPREAD = 1e-3
"""Standard deviation over mean that is added, in squares, where a map is standardised."""
EPS = 1e-6


def energy(feature: Tensor) -> Tensor:
    """Mean over channels of the squared activation: (B, C, H, W) -> (B, H, W), float32."""
    return feature.float().square().mean(1)


def hard_mask(attention: Tensor) -> Tensor:
    """1 where a map is above its own mean, 0 elsewhere; 0 everywhere in a constant map.

    Args:
        attention: (B, H, W), >= 0.

    Returns:
        (B, H, W) of 0 and 1, float32: the foreground. The background is 1 - mask.
    """
    return (attention > attention.mean((1, 2), keepdim=True)).float()


def soft_mask(attention: Tensor, sharpness: float) -> Tensor:
    """sigmoid(sharpness x (map - mean) / standard deviation); 1/2 everywhere in a constant map.

    Args:
        attention: (B, H, W), >= 0; its scale does not count.
        sharpness: > 0; towards infinity it becomes the hard mask.

    Returns:
        (B, H, W) in (0, 1), float32: the foreground. What lies near the mean belongs to both regions.
    """
    relative = attention / attention.mean((1, 2), keepdim=True).clamp(min=EPS**2)
    deviations = relative - relative.mean((1, 2), keepdim=True)
    spread = (deviations.square().mean((1, 2), keepdim=True) + LEAST_SPREAD**2).sqrt()
    return torch.sigmoid(sharpness * deviations / spread)


def region_attention(attention: Tensor, region: Tensor) -> Tensor:
    """The part of a map inside a region, scaled to unit length.

    Args:
        attention: (B, H, W), >= 0.
        region: (B, H, W) in 0..1.

    Returns:
        (B, H, W), float32; zeros where the region is empty or the map is 0 in it.
    """
    inside = (region * attention).flatten(1)
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
    return (region * attention).sum((1, 2)) / attention.sum((1, 2)).clamp(min=EPS**2)
