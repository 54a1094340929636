"""Class alignment: how the classes of a batch go together, student against teacher.

The class-correlation part of DCAD (Liu, Xue, Zhang, Xu. Acta Electronica Sinica 2025, 53(3):962-973), whose abstract
names it without a formula: a reconstruction in three forms. "gram" is the class level of Jin, Wang, Lin: Multi-Level
Logit Distillation, CVPR 2023 (cc_loss in Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/distillers/KD_ours.py),
divided by the batch size, with which theirs grows; "pearson" is the intra-class part of DIST (see
`kdengine.losses.dist`); "correlation" is ours: the Gram matrix of columns that are centred and scaled, so that its size
depends neither on the batch nor much on the temperature.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from kdengine.errors import BadInput, Problem
from kdengine.losses.dist import intra_class
from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision, unit_deviations

Kind = Literal["correlation", "pearson", "gram"]


def class_alignment(student: Tensor, teacher: Tensor, temperature: float, kind: Kind = "correlation") -> Tensor:
    """Difference of the class relations of two nets. With P = softmax(logits / T), (B, C):

    - "correlation": columns of P centred and scaled to unit length over the batch, R = P'P; ``|R_s - R_t|²_F / C``.
    - "pearson": 1 - mean over classes of the Pearson correlation of P_s[:, c] and P_t[:, c]; x T².
    - "gram": M = P'P / B; ``|M_s - M_t|²_F / C``. At T = 4 and C = 100 about 1000 times smaller than the others.

    Args:
        student: logits (B, C). Of two classes "correlation" is always 0. Below B = 2 C the C x C matrices are noisy.
        teacher: logits (B, C).
        temperature: T > 0.
        kind: which of the three.

    Returns:
        Scalar >= 0, float32, 0 when both predictions are equal. Unchanged when the batch is repeated, but a relation
        over the batch, so the mean over two halves differs from the value of the whole. Classes without spread over the
        batch (a batch of one; saturated logits) count as uncorrelated with every class.

    Raises:
        BadInput: no such kind.
    """
    if kind not in get_args(Kind):
        raise BadInput(Problem("kind", f"found {kind!r}, expected one of {', '.join(get_args(Kind))}"))
    if kind == "pearson":
        return intra_class(student, teacher, temperature)
    relations = class_correlation if kind == "correlation" else _gram
    gap = relations(student, temperature) - relations(teacher, temperature)
    return gap.square().sum() / student.shape[1]


def class_correlation(logits: Tensor, temperature: float) -> Tensor:
    """How the probabilities of every two classes go together over the batch.

    Args:
        logits: (B, C).
        temperature: T > 0.

    Returns:
        (C, C) float32 in -1..1, Pearson's r of columns of softmax(logits / T); row and column of a class that does not
        vary over the batch are 0.
    """
    with full_precision(logits):
        columns = unit_deviations(F.softmax(full(logits) / temperature, dim=1), dim=0)
        return columns.T @ columns


def _gram(logits: Tensor, temperature: float) -> Tensor:
    with full_precision(logits):
        probabilities = F.softmax(full(logits) / temperature, dim=1)
        return probabilities.T @ probabilities / len(probabilities)
