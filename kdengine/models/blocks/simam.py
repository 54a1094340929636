"""SimAM, attention without weights: Yang et al., ICML 2021; form after the repository ZjjConan/SimAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SimAM(nn.Module):
    """Brings out places that differ from the rest of their channel; nothing is learned.

    ``sigmoid(d / (4 (sum d / n + eps)) + 1/2)`` with ``d = (x - mean)²`` over the places of a channel, n = H W - 1, in
    float32. On a map of one place, where n would be 0, the mask is sigmoid(1/2) = 0.622.

    Args:
        eps: the regulariser lambda; 1e-4 in the repository.
    """

    def __init__(self, eps: float = 1e-4) -> None:
        super().__init__()
        self.eps = eps

    def mask(self, x: Tensor) -> Tensor:
        """What the map is multiplied by: the shape of ``x``, in [0.622, 1]."""
        wide = x.float()
        squares = (wide - wide.mean((2, 3), keepdim=True)).square()
        others = max(x.shape[2] * x.shape[3] - 1, 1)
        variance = squares.sum((2, 3), keepdim=True) / others
        return torch.sigmoid(squares / (4 * (variance + self.eps)) + 0.5).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """``x * mask(x)``, (B, C, H, W)."""
        return x * self.mask(x)
