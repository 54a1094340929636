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
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
    is_target = F.one_hot(target, student.shape[1]).bool()
    scale = temperature**2

    target_student = _target_and_rest(log_student, is_target)
    target_teacher = _target_and_rest(log_teacher, is_target)
    target_term = F.kl_div(target_student, target_teacher, reduction="batchmean", log_target=True) * scale

    rest_student = _without_target(log_student, is_target)
    rest_teacher = _without_target(log_teacher, is_target)
    non_target_term = F.kl_div(rest_student, rest_teacher, reduction="batchmean", log_target=True) * scale
    return alpha * target_term, beta * non_target_term


def _target_and_rest(log_probabilities: Tensor, is_target: Tensor) -> Tensor:
    """(B, 2): log of the target's probability, and of all others together."""
    target = log_probabilities[is_target].unsqueeze(1)
    rest = torch.logsumexp(_others(log_probabilities, is_target), dim=1, keepdim=True)
    return torch.cat([target, rest], dim=1)


def _without_target(log_probabilities: Tensor, is_target: Tensor) -> Tensor:
    """(B, C-1): log-softmax over the classes that are not the target."""
    return F.log_softmax(_others(log_probabilities, is_target), dim=1)


def _others(values: Tensor, is_target: Tensor) -> Tensor:
    return values[~is_target].view(values.shape[0], values.shape[1] - 1)
