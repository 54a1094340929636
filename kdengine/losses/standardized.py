"""Standardized logits: soft targets that compare the shape of two predictions, not their scale.

Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation. CVPR 2024, arXiv 2403.01427.
Official code: sunshangquan/logit-standardization-KD, mdistiller/distillers/KD.py.
Deviations: the floor of the standard deviation is 1e-3, added in squares, where the code adds 1e-7: logits that are all
equal (a zero-initialised last layer) would get gradients of 1e7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.losses.kd import kd
from kdengine.losses.precision import full

MIN_DEVIATION = 1e-3


def standardize(logits: Tensor) -> Tensor:
    """Logits of each sample with mean 0 and (unbiased) standard deviation 1.

    Args:
        logits: (B, C), C >= 2.

    Returns:
        (B, C), float32; zeros for a sample whose logits are all equal.
    """
    wide = full(logits)
    centred = wide - wide.mean(1, keepdim=True)
    variance = centred.square().sum(1, keepdim=True) / (logits.shape[1] - 1)
    return centred * torch.rsqrt(variance + MIN_DEVIATION**2)


def kd_standardized(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`kdengine.losses.kd` of standardized logits; mean over the batch, sum over classes, x T².

    Args:
        student: logits (B, C), C >= 3: two standardized logits are +-0.71 whatever they were.
        teacher: logits (B, C).
        temperature: T > 0; the paper's base temperature.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated, and when either net's logits are scaled or shifted.
    """
    return kd(standardize(student), standardize(teacher), temperature)
