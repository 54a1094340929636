"""Attention transfer: where a map is strong, not what it says.

Zagoruyko, Komodakis: Paying More Attention to Attention. ICLR 2017, arXiv 1612.03928, equation 2 with p = 2.
Official code: szagoruyko/attention-transfer, utils.py.
Deviations: as in the official code the squared difference is a mean over positions, where the paper has a norm; maps of
different sides are brought to the smaller one by average pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision


def attention_map(feature: Tensor) -> Tensor:
    """Mean over channels of the squared activation, flattened and scaled to unit length.

    Args:
        feature: (B, C, H, W).

    Returns:
        (B, H*W), float32, each row of length 1 (0 for an all-zero map).
    """
    return F.normalize(full(feature).pow(2).mean(dim=1).flatten(1), dim=1)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two attention maps, over batch and positions.

    Args:
        student: (B, C_s, H, W).
        teacher: (B, C_t, H', W'); channels and side may differ.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated. Small by nature (rows have unit length over H*W
        positions), hence weights of the order of 1000.
    """
    side = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    of_student, of_teacher = (attention_map(averaged(feature, side)) for feature in (student, teacher))
    return F.mse_loss(of_student, of_teacher)


def averaged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive average pooling of (B, C, H, W) to (B, C, h, w), float32.

    Its backward pass is not deterministic on CUDA: where that is asked for, the same means are products of matrices.
    """
    maps = full(maps)
    if not torch.are_deterministic_algorithms_enabled():
        return F.adaptive_avg_pool2d(maps, size)
    if maps.shape[2:] == size:
        return maps
    down, across = (_means(*sides, maps) for sides in zip(maps.shape[2:], size, strict=True))
    with full_precision(maps):
        return down @ maps @ across.T


def _means(side: int, places: int, like: Tensor) -> Tensor:
    """(places, side): the weights by which adaptive pooling makes that many means of a row."""
    place, along = torch.arange(places, device=like.device)[:, None], torch.arange(side, device=like.device)
    begin, end = place * side // places, -(-(place + 1) * side // places)
    return ((along >= begin) & (along < end)).to(like.dtype) / (end - begin)
