"""How hard each loss term pulls at the student: the norm of its gradient, on one training batch, at one moment."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from kdengine.inspection.subject import Arrays
from kdengine.methods.base import BatchLike, Method, Network
from kdengine.models.backbone import Backbone
from kdengine.training.checkpoint import random_states, restore_random_states


def gradient_norms(
    student: Backbone, method: Method, teacher: Network | None, batch: BatchLike, epochs: float
) -> Arrays:
    """``<term>``: Euclidean norm of the gradient of each weighted loss term with respect to the student's weights.

    A copy of student and method is asked, in training mode, so that neither statistics nor memories of the run change;
    random numbers that it draws are given back. A term that does not reach the student has norm 0.

    Args:
        student, method: plain and uncompiled.
        teacher: images -> Outputs.
        batch: as in training.
        epochs: the clock that the method reads.
    """
    before = random_states()
    try:
        # Together: a method may hold parts of the student.
        own, its_method = copy.deepcopy((student, method))
        own.train().requires_grad_()
        its_method.train()
        with torch.enable_grad():
            clock = torch.tensor(float(epochs), device=batch.target.device)
            terms = its_method(its_method.prepare(batch), own, teacher, clock)
            return {name: _norm(term.weighted.float(), list(own.parameters())) for name, term in terms.items()}
    finally:
        restore_random_states(before)


def _norm(value: Tensor, weights: list[nn.Parameter]) -> np.ndarray:
    if not value.requires_grad:
        return np.zeros((), np.float32)
    slopes = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    squares = [slope.float().square().sum() for slope in slopes if slope is not None]
    return np.asarray(float(torch.stack(squares).sum().sqrt()) if squares else 0.0, np.float32)
