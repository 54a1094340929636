"""Similarity preserving: samples that are alike for the teacher are to be alike for the student.

Tung, Mori: Similarity-Preserving Knowledge Distillation. ICCV 2019, arXiv 1907.09682, equations 1-4.
Public code: RepDistiller, distiller_zoo/SP.py; megvii-research/mdistiller, distillers/SP.py.
Deviations: none in value; features are divided by their root mean square first, which the normalisation of the rows
takes out again, so that no product overflows or vanishes.
"""

from __future__ import annotations

from torch import Tensor

from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision

TINY = 1e-12


def similarities(features: Tensor) -> Tensor:
    """Inner products of all pairs of samples, each row scaled to unit length.

    Args:
        features: (B, D) or maps (B, C, H, W), which are flattened; their common scale does not count.

    Returns:
        (B, B), float32; rows of a sample whose features are all 0 are 0.
    """
    flat = full(features).flatten(1)
    with full_precision(flat):
        scale = flat.detach().square().mean().sqrt().clamp(min=TINY)
        products = (flat / scale) @ (flat / scale).T
        return products * (products.square().sum(dim=1, keepdim=True) + TINY).rsqrt()


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two similarity matrices over all B² pairs.

    Args:
        student: (B, D_s) or (B, C_s, H, W).
        teacher: (B, D_t) or (B, C_t, H', W'); channels and sides may differ.

    Returns:
        Scalar >= 0, float32. Rows have unit length over B entries, so the value is small by nature and falls with the
        batch as 1 / B; repeated r times, a batch gives 1 / r of it. Hence weights of the order of 1000.
    """
    return (similarities(student) - similarities(teacher)).square().mean()
