"""Relational distillation: distances and angles between the samples of a batch.

Park, Kim, Lu, Cho: Relational Knowledge Distillation. CVPR 2019, arXiv 1904.05068, equations 5-10.
Public code: HobbitLong/RepDistiller, distiller_zoo/RKD.py; megvii-research/mdistiller, distillers/RKD.py.
Deviations: equal embeddings have distance 0 and no gradient (public codes: 1e-6, and they count as a pair).
Both take memory for B² D numbers a net, the angles for B³ more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision

TINY = 1e-12


def rkd_distance(s: Tensor, t: Tensor) -> Tensor:
    """Huber difference of the Euclidean distances of all pairs, each divided by its net's mean over distinct pairs.

    Args:
        s: student embeddings (B, D_s).
        t: teacher embeddings (B, D_t); the widths may differ, and scale or rotation of either do not count.

    Returns:
        Scalar >= 0, float32, a mean over all B² pairs, as in the public codes. Unchanged when the batch is repeated,
        but a relation over the batch, so the mean over two halves differs from the value of the whole.
    """
    return F.smooth_l1_loss(_relative_distances(s), _relative_distances(t))


def rkd_angle(s: Tensor, t: Tensor) -> Tensor:
    """Huber difference of the cosines of the angles that all triples of samples form.

    Args:
        s: student embeddings (B, D_s).
        t: teacher embeddings (B, D_t).

    Returns:
        Scalar >= 0, float32, a mean over all B³ triples, degenerate ones (two equal corners give 0) among them, as in
        the public codes. Unchanged when the batch is repeated, but a relation over the batch.
    """
    return F.smooth_l1_loss(_cosines(s), _cosines(t))


def _relative_distances(embedding: Tensor) -> Tensor:
    distances = _lengths(_differences(embedding)).squeeze(2)
    distinct = (distances > 0).sum().clamp(min=1)
    return distances / (distances.sum() / distinct).clamp(min=TINY)


def _cosines(embedding: Tensor) -> Tensor:
    """(B, B, B): [j, i, k] is the cosine at corner j between the ways to i and to k."""
    with full_precision(embedding):
        differences = _differences(embedding)
        lengths = _lengths(differences)
        distinct = lengths > 0
        directions = differences / torch.where(distinct, lengths, 1.0) * distinct
        return directions @ directions.transpose(1, 2)


def _differences(embedding: Tensor) -> Tensor:
    wide = full(embedding)
    return wide.unsqueeze(0) - wide.unsqueeze(1)


def _lengths(vectors: Tensor) -> Tensor:
    """Euclidean lengths along the last dimension, kept; 0 with gradient 0 for what is shorter than 1e-6."""
    squares = vectors.square().sum(2, keepdim=True)
    distinct = squares > TINY
    # The root of 1 instead of 0 where the vector vanishes: its gradient is finite, and then masked away.
    return torch.where(distinct, squares, 1.0).sqrt() * distinct
