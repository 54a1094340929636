"""Weights that rise over the first part of a run."""

from __future__ import annotations

import torch
from torch import Tensor


def warm_up(clock: Tensor, epochs: float) -> Tensor:
    """min((whole epochs done + 1) / ``epochs``, 1), a scalar tensor; 1 when ``epochs`` is 0.

    Counts epochs from 1 as mdistiller does, so that the first epoch already teaches a little.
    """
    if epochs <= 0:
        return torch.ones_like(clock)
    return ((clock.floor() + 1) / epochs).clamp(max=1.0)
