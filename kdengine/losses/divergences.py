"""Soft targets sample by sample, for losses that count some samples and not others.

The divergence is that of `kdengine.losses.kd`; what differs is that the mean over the batch is left to the caller.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full


def divergences(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher/T) || softmax(student/T)) x T² of each sample.

    Args:
        student: logits (B, C).
        teacher: logits (B, C); gradients flow into it unless it is detached.
        temperature: T > 0.

    Returns:
        (B,), >= 0, float32; a sum over classes. Its mean is `kdengine.losses.kd`.
    """
    log_student, log_teacher = (F.log_softmax(full(logits) / temperature, dim=1) for logits in (student, teacher))
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1) * temperature**2


def kd_of_some(student: Tensor, teacher: Tensor, temperature: float, taken: Tensor) -> Tensor:
    """Mean of `divergences` over the samples that are taken.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperature: T > 0.
        taken: (B,), bool, or weights >= 0.

    Returns:
        Scalar >= 0, float32; 0 where no sample is taken; unchanged when the batch is repeated.
    """
    weights = full(taken)
    return (weights * divergences(student, teacher, temperature)).sum() / weights.sum().clamp(min=1.0)
