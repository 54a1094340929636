"""Small safe parts that relation losses share: unit vectors of what varies, full precision, and groups of a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kdengine.losses.precision import full

MIN_SPREAD = 1e-4
"""Standard deviation over mean below which values count as equal: little more than float32 rounds to."""
TINY = 1e-24


def full_precision(like: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Switches autocast off, under which a product of float32 matrices would be rounded to half precision."""
    return torch.autocast(like.device.type, enabled=False)


def unit_deviations(probabilities: Tensor, dim: int) -> Tensor:
    """Deviations from the mean along ``dim``, scaled to unit length; the product of two of them is Pearson's r.

    Args:
        probabilities: values >= 0.
        dim: the dimension that is centred.

    Returns:
        The same shape, float32. Where nothing varies (a spread below `MIN_SPREAD` of the mean) the vector shrinks to
        0 instead of blowing up rounding errors, and its gradient stays finite.
    """
    probabilities = full(probabilities)
    mean = probabilities.mean(dim, keepdim=True)
    deviations = probabilities - mean
    floor = MIN_SPREAD**2 * probabilities.shape[dim] * mean.square() + TINY
    return deviations * torch.rsqrt(deviations.square().sum(dim, keepdim=True) + floor)


def pearson_distance(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """1 - Pearson's r of two sets of probabilities along ``dim``, averaged over the other dimension.

    Computed as half the squared distance of the unit deviations, which is the same, exact near 0, and 0 for equal
    inputs that do not vary. Where only one of the two varies, r is not defined; the distance is then 1/2.

    Args:
        first: (N, M), >= 0.
        second: (N, M).
        dim: 0 or 1.

    Returns:
        Scalar in 0..2, float32.
    """
    gap = unit_deviations(first, dim) - unit_deviations(second, dim)
    return gap.square().sum(dim).mean() / 2


def groups(count: int, most: int) -> list[slice]:
    """Splits a batch into as few groups of nearly equal size as hold at most ``most`` samples each.

    A group takes every G-th sample, so that a batch sorted by class has all its classes in each of them.

    Args:
        count: samples in the batch, at least 1.
        most: at least 1.
    """
    number = -(-count // most)
    return [slice(start, None, number) for start in range(number)]


def in_groups(loss: Callable[..., Tensor], most: int, *tensors: Tensor) -> Tensor:
    """A loss over the relations of a batch, computed within groups of at most ``most`` samples.

    Time and memory then grow with the batch and not with its square or cube, and the value keeps the size that it has
    for a batch of ``most``.

    Args:
        loss: tensors whose first dimension is the samples -> scalar, or several in one tensor.
        most: largest group; a batch that is no larger is one group.
        tensors: each (B, ...).

    Returns:
        The mean over groups, weighted by their sizes.
    """
    count = len(tensors[0])
    parts = [[tensor[group] for tensor in tensors] for group in groups(count, most)]
    return torch.stack([loss(*part) * (len(part[0]) / count) for part in parts]).sum(dim=0)
