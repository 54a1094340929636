"""A teacher made by hand: nearly sure of the true class, the rest shared out evenly, and softened.

Yuan, Tay, Li, Wang, Feng: Revisiting Knowledge Distillation via Label Smoothing Regularization. CVPR 2020,
arXiv 1909.11723, equations 8 and 9 (Tf-KD_reg).
Official code: yuanli2333/Teacher-free-Knowledge-Distillation, my_loss_function.py (loss_kd_regularization).
As in the official code the softened teacher is softmax(p / T) of its *probabilities* p, and the student is not
softened. Deviations: a sum over classes, where the code has a mean times a multiplier, which is
the number of classes in its ResNet configurations.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full


def virtual_teacher(
    target: Tensor, classes: int, confidence: float, temperature: float, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Log-probabilities of the hand-made teacher.

    Args:
        target: class indices (B,).
        classes: C >= 2.
        confidence: its probability of the true class before it is softened; the others share 1 - confidence.
        temperature: T > 0; from 20 on nearly even: 1.05 times as much for the true class as for another.
        dtype: of the result; float32 or float64.

    Returns:
        (B, C).
    """
    others = (1 - confidence) / (classes - 1)
    hit = F.one_hot(target, classes)
    probabilities = torch.where(hit.bool(), confidence, others).to(dtype)
    return F.log_softmax(probabilities / temperature, dim=1)


def virtual_teaching(student: Tensor, target: Tensor, confidence: float, temperature: float) -> Tensor:
    """KL(virtual teacher || softmax(student)); mean over the batch, sum over classes, no factor T².

    Args:
        student: logits (B, C).
        target: class indices (B,).
        confidence: see `virtual_teacher`.
        temperature: of the teacher only.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated.
    """
    logits = full(student)
    teacher = virtual_teacher(target, logits.shape[1], confidence, temperature, logits.dtype)
    return F.kl_div(F.log_softmax(logits, dim=1), teacher, reduction="batchmean", log_target=True)
