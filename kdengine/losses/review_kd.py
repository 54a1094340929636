"""Hierarchical context: two maps compared as they are, and ever more coarsely.

Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review. CVPR 2021, arXiv 2104.09044, section 3.3.
Public code: dvlab-research/ReviewKD, CIFAR-100/model/reviewkd.py; megvii-research/mdistiller, distillers/ReviewKD.py.
Deviations: none where 4, 2 and 1 divide the side; else windows overlap (see `kdengine.models.blocks.resize`).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full

LEVELS = (4, 2, 1)


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two maps, and of their averages over 4x4, 2x2 and 1x1 places.

    Args:
        student: (B, C, H, W).
        teacher: the same shape.

    Returns:
        Scalar >= 0, float32, the mean weighted 1, 1/2, 1/4, 1/8, over those levels that are smaller than the map.
        Unchanged when the batch is repeated.
    """
    student, teacher = full(student), full(teacher)
    value, share, shares = (student - teacher).square().mean(), 1.0, 1.0
    for level in LEVELS:
        if level < min(student.shape[2:]):
            share /= 2
            shares += share
            value = value + share * (_pooled(student, level) - _pooled(teacher, level)).square().mean()
    return value / shares


def _pooled(maps: Tensor, side: int) -> Tensor:
    """Average pooling to (side, side), with windows of one size: adaptive pooling is not deterministic on CUDA."""
    strides = maps.shape[2] // side, maps.shape[3] // side
    windows = maps.shape[2] - (side - 1) * strides[0], maps.shape[3] - (side - 1) * strides[1]
    return F.avg_pool2d(maps, windows, strides)
