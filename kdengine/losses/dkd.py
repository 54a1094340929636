"""Decoupled knowledge distillation: what the teacher says of the target class, and how it ranks the others.

Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation. CVPR 2022, arXiv 2203.08679, equations 5-7.
Official code: megvii-research/mdistiller, mdistiller/distillers/DKD.py.
Deviations: computed in log space (the official form takes the logarithm of a softmax sum and is infinite for saturated
logits); the non-target softmax leaves the target out instead of lowering it by 1000.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full


def dkd(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """The two parts of decoupled distillation, weighted.

    With p the teacher's probability of the target, plain KD equals target part + (1 - p) x non-target part, sample by
    sample; here the second factor is free.

    Args:
        student: logits (B, C), C >= 2. For C = 2 the non-target part is exactly zero: one class has nothing to rank.
        teacher: logits (B, C).
        target: class indices (B,), int64.
        temperature: T > 0.
        alpha: weight of the target part.
        beta: weight of the non-target part.

    Returns:
        (target_term, non_target_term), scalars >= 0 in float32, each mean over the batch x T²; unchanged when the batch
        is repeated.
    """
    log_student = F.log_softmax(full(student) / temperature, dim=1)
    log_teacher = F.log_softmax(full(teacher) / temperature, dim=1)
    others = _others(target, student.shape[1])
    scale = temperature**2

    target_student = _target_and_rest(log_student, target, others)
    target_teacher = _target_and_rest(log_teacher, target, others)
    target_term = F.kl_div(target_student, target_teacher, reduction="batchmean", log_target=True) * scale

    rest_student = F.log_softmax(log_student.gather(1, others), dim=1)
    rest_teacher = F.log_softmax(log_teacher.gather(1, others), dim=1)
    non_target_term = F.kl_div(rest_student, rest_teacher, reduction="batchmean", log_target=True) * scale
    return alpha * target_term, beta * non_target_term


def _target_and_rest(log_probabilities: Tensor, target: Tensor, others: Tensor) -> Tensor:
    """(B, 2): log of the target's probability, and of all others together."""
    rest = torch.logsumexp(log_probabilities.gather(1, others), dim=1, keepdim=True)
    return torch.cat([log_probabilities.gather(1, target[:, None]), rest], dim=1)


def _others(target: Tensor, classes: int) -> Tensor:
    """(B, C-1): the classes that are not the target, ascending; by a mask, the host would wait for the size found."""
    rest = torch.arange(classes - 1, device=target.device)
    return rest + (rest >= target[:, None])
