"""Spatial group-wise enhance (SGE): Li et al., 2019; form after the public repository implus/PytorchInsight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdengine.errors import BadInput

EPS = 1e-5


class SpatialGroupEnhance(nn.Module):
    """Brings out, in each group of channels, the places that resemble the group's mean vector.

    With g the spatial mean of a group's C/G channels: ``c_p = <x_p, g>``, standardized over the places p (unbiased
    standard deviation plus 1e-5), then ``sigmoid(gamma * c_p + beta)`` with one gamma and one beta a group. gamma
    starts at 0 and beta at 1: an untrained mask is sigmoid(1) = 0.731 everywhere. Computed in float32. Deviates from
    the repository in one thing: a map of one place, or a constant one, gives c = 0 instead of nan (in the gradient).

    Args:
        groups: G; must divide the channels of the maps. 2 G weights.

    Raises:
        BadInput: ``groups`` below 1; in the forward pass: channels that it does not divide.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        if groups < 1:
            raise BadInput(f"found {groups} groups; spatial group-wise enhance needs at least one")
        self.groups = groups
        self.gamma = nn.Parameter(torch.zeros(groups))
        self.beta = nn.Parameter(torch.ones(groups))

    def mask(self, x: Tensor) -> Tensor:
        """What the map is multiplied by: (B, C, H, W), in (0, 1), equal for all channels of a group."""
        channels = x.shape[1]
        if channels % self.groups:
            raise BadInput(
                f"found {channels} channels and {self.groups} groups; take a number of groups that divides the channels"
            )
        grouped = x.float().unflatten(1, (self.groups, channels // self.groups))
        likeness = (grouped * grouped.mean((3, 4), keepdim=True)).sum(2)
        centred = likeness - likeness.mean((2, 3), keepdim=True)
        places = centred.shape[2] * centred.shape[3]
        variance = centred.square().sum((2, 3), keepdim=True) / max(places - 1, 1)
        # The floor keeps the gradient of the root finite for constant maps; it is far below EPS.
        deviation = variance.clamp_min(1e-12).sqrt()
        gates = torch.sigmoid(self.gamma.view(-1, 1, 1) * centred / (deviation + EPS) + self.beta.view(-1, 1, 1))
        return gates.repeat_interleave(channels // self.groups, 1).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """``x * mask(x)``, (B, C, H, W)."""
        return x * self.mask(x)
