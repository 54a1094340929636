"""The precision in which losses are computed."""

from __future__ import annotations

import torch
from torch import Tensor


def full(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are."""
    return values if values.dtype == torch.float64 else values.float()
