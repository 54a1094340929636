"""Soft-target distillation.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531, section 2.
Deviations: none.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher/T) || softmax(student/T)) x T²; mean over the batch, sum over classes.

    Args:
        student: logits (B, C).
        teacher: logits (B, C); gradients flow into it unless it is detached.
        temperature: T > 0.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated.
    """
    log_student = F.log_softmax(full(student) / temperature, dim=1)
    log_teacher = F.log_softmax(full(teacher) / temperature, dim=1)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
