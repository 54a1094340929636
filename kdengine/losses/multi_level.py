"""Predictions aligned at three levels: each sample's, how the samples of a batch go together, and how the classes do.

Jin, Wang, Lin: Multi-Level Logit Distillation. CVPR 2023, sections 3.2 and 3.3.
Official code: Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/distillers/KD_ours.py (kd_loss, bc_loss, cc_loss).
Deviations: means over temperatures, where the code has sums; the batch level is a mean over pairs x C, the class level
divides its sums over the batch by the batch size, x C²: neither grows with the batch, as the code's do (with B and B²),
nor fades with the number of classes (as 1 / C and 1 / C²).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.divergences import divergences
from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision


def least_sure(scores: Tensor, share: float) -> Tensor:
    """1 for the lowest scores, up to the quantile ``share`` (that one included), 0 for the others.

    Args:
        scores: (N,), e.g. how sure the teacher is of each sample, or how much it gives to each class.
        share: 0..1; 1 takes all, 0 the lowest alone.

    Returns:
        (N,) of 0 and 1, float32.
    """
    scores = full(scores)
    return (scores <= torch.quantile(scores, share)).to(scores.dtype)


def instance_level(
    student: Tensor, teacher: Tensor, temperatures: Sequence[float], taken: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) x T², a mean over temperatures and the batch.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperatures: each > 0.
        taken: (B,) of 0 and 1: those that are not count as 0 in the mean; None = all.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated.
    """
    each = torch.stack([divergences(student, teacher, temperature) for temperature in temperatures]).mean(dim=0)
    return each.mean() if taken is None else (each * taken).mean()


def batch_level(student: Tensor, teacher: Tensor, temperatures: Sequence[float], taken: Tensor | None = None) -> Tensor:
    """Squared difference of P P', P = softmax(logits / T): a mean over temperatures and pairs of samples, x C.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperatures: each > 0.
        taken: (B,) of 0 and 1: pairs whose second sample is not count as 0 in the mean; None = all.

    Returns:
        Scalar >= 0, float32. Unchanged when the batch is repeated, but a relation over the batch, so the mean over two
        halves differs from the value of the whole.
    """
    gaps = [sample_relations(student, t) - sample_relations(teacher, t) for t in temperatures]
    squares = student.shape[1] * torch.stack(gaps).square().mean(dim=0)
    return squares.mean() if taken is None else (squares * taken).mean()


def class_level(student: Tensor, teacher: Tensor, temperatures: Sequence[float], taken: Tensor | None = None) -> Tensor:
    """``|P'P / B of the student - that of the teacher|² x C``, P = softmax(logits / T): a mean over temperatures.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperatures: each > 0.
        taken: (C,) of 0 and 1: columns of classes that are not count as 0; None = all.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated, but a relation over the batch. With one temperature
        and all classes it is C² times `kdengine.losses.class_alignment` of the kind "gram".
    """
    gaps = [class_relations(student, t) - class_relations(teacher, t) for t in temperatures]
    squares = student.shape[1] * torch.stack(gaps).square().mean(dim=0)
    return (squares if taken is None else squares * taken).sum()


def sample_relations(logits: Tensor, temperature: float) -> Tensor:
    """P P' of P = softmax(logits / T), (B, C): (B, B), float32, 0..1: whether two samples get the same prediction."""
    with full_precision(logits):
        probabilities = F.softmax(full(logits) / temperature, dim=1)
        return probabilities @ probabilities.T


def class_relations(logits: Tensor, temperature: float) -> Tensor:
    """P'P / B of P = softmax(logits / T), (B, C): (C, C), float32, 0..1: how often two classes go together."""
    with full_precision(logits):
        probabilities = F.softmax(full(logits) / temperature, dim=1)
        return probabilities.T @ probabilities / len(probabilities)
