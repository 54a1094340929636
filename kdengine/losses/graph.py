"""Knowledge in how the samples of a batch relate: a graph over them, compared node by node and row by row.

Yang, Chen, Zhao, An, Xu: Graph-based Representation Knowledge Distillation. Acta Electronica Sinica 2024, 52(10).
Only the abstract is public (node and relation graph distillation losses over a graph network of the sample set); the
forms are our choice, after the holistic form of HKD (Zhou et al., ICCV 2021) and the soft relations of mutual
contrastive learning (Yang et al., AAAI 2022). All values depend on who is in the batch; none grows with its size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision


def sample_graph(nodes: Tensor, temperature: float, neighbours: int = 0) -> Tensor:
    """Weights between the samples of a batch.

    Args:
        nodes: (B, D), rows of unit length.
        temperature: tau > 0 of the dense graph. At 0.07 to 0.1 on unlike samples the graph is the identity, at 0.5
            everything is averaged.
        neighbours: 0 = dense graph, each row a softmax of cosine / tau with the self loop kept; k > 0 = each sample
            linked with its k most alike (B - 1 where there are fewer), links made mutual, normalised as
            D^-1/2 (A + I) D^-1/2. Which samples are linked then carries no gradient.

    Returns:
        (B, B), at least float32, >= 0; rows of the dense graph sum to one.
    """
    nodes = full(nodes)
    with full_precision(nodes):
        likeness = nodes @ nodes.T
    if not neighbours:
        return F.softmax(likeness / temperature, dim=1)
    count = len(nodes)
    identity = torch.eye(count, device=nodes.device, dtype=nodes.dtype)
    with torch.no_grad():
        others = likeness.detach() - 4 * identity
        nearest = others.topk(min(neighbours, count - 1), dim=1).indices
        linked = torch.zeros_like(likeness).scatter_(1, nearest, 1.0)
        linked = torch.maximum(linked, linked.T) + identity
        scale = linked.sum(dim=1).rsqrt()
        return scale[:, None] * linked * scale[None, :]


def node_alignment(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over samples of weight x (1 - cosine) between the two nodes of a sample.

    Args:
        student, teacher: (B, D), of the same width; any length (zero rows count as orthogonal).
        weight: (B,) >= 0; None = all one.

    Returns:
        Scalar in 0..2 x mean weight, float32.
    """
    apart = 1 - F.cosine_similarity(full(student), full(teacher), dim=1)
    return apart.mean() if weight is None else (weight * apart).mean()


def relation_divergence(student: Tensor, teacher: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    """Mean over samples of weight x KL between how teacher and student relate it to all others.

    A sample's relation is the softmax over the other samples of cosine / temperature. There is no factor T²: with a
    temperature of 0.1 on cosines it would switch the term off.

    Args:
        student, teacher: (B, D_s), (B, D_t), rows of unit length, B >= 2. With B = 2 there is one other sample, nothing
            to compare, and the value is 0.
        temperature: > 0.
        weight: (B,) >= 0; None = all one.

    Returns:
        Scalar >= 0, float32.
    """
    log_student, log_teacher = (_relations(full(nodes), temperature) for nodes in (student, teacher))
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
    return divergence.mean() if weight is None else (weight * divergence).mean()


def _relations(nodes: Tensor, temperature: float) -> Tensor:
    """(B, B - 1): log-softmax over the other samples."""
    count = len(nodes)
    with full_precision(nodes):
        likeness = nodes @ nodes.T / temperature
    # Rows shifted by one against each other: dropping the first column of the flat view drops the diagonal.
    others = likeness.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)
    return F.log_softmax(others, dim=1)
