"""Noise-contrastive estimation: is this the same image, or one drawn at random?

Tian, Krishnan, Isola: Contrastive Representation Distillation. ICLR 2020, arXiv 1910.10699, equations 9-11 and 17-19.
Official code: HobbitLong/RepDistiller, crd/memory.py and crd/criterion.py.
Deviations: computed in log space, without the code's 1e-7; the negatives are shared by the batch, those that a sample
may not use are left out and the mean of the others counts for all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.losses.relations import full_precision


def noise_contrastive(positive: Tensor, negative: Tensor, taken: Tensor, samples: int) -> Tensor:
    """-log h(positive) - K mean log(1 - h(negative)), h(s) = e^s / (e^s + K / N): a mean over the batch.

    Args:
        positive: log densities of the true pairs (B,).
        negative: log densities of each sample with each of the K drawn ones (B, K).
        taken: (B, K), bool: which of these may serve the sample as negatives.
        samples: N, from how many they are drawn, evenly.

    Returns:
        Scalar >= 0, float32; of the order of K / N x log 2 and more. A sample without negatives counts its true pair
        only.
    """
    count = negative.shape[1]
    noise = math.log(count / samples)
    of_positive = F.softplus(noise - full(positive))
    of_negatives = F.softplus(full(negative) - noise) * taken
    mean = of_negatives.sum(dim=1) / taken.sum(dim=1).clamp(min=1)
    return (of_positive + count * mean).mean()


def log_densities(anchor: Tensor, positive: Tensor, drawn: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Scores of an anchor with its own and with all drawn ones: inner products / T, not normalised yet.

    Args:
        anchor: (B, D), rows of unit length.
        positive: (B, D).
        drawn: (K, D).
        temperature: T > 0.

    Returns:
        (B,) and (B, K), float32.
    """
    with full_precision(anchor):
        wide = full(anchor)
        return (wide * full(positive)).sum(dim=1) / temperature, wide @ full(drawn).T / temperature


def log_normaliser(positive: Tensor, negative: Tensor, samples: int) -> Tensor:
    """log of N x mean of e^score over all pairs: what the first batch fixes for the whole run (a scalar)."""
    scores = torch.cat([full(positive)[:, None], full(negative)], dim=1).flatten()
    return scores.logsumexp(dim=0) - math.log(len(scores)) + math.log(samples)
