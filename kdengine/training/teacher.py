"""The teacher during training: frozen, in eval mode, outside optimiser, EMA and checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor

from kdengine.models.backbone import Backbone, Outputs, Shapes


class FrozenTeacher:
    """A callable pictures -> Outputs that never trains.

    Not a module on purpose: nothing that walks the student's modules finds it.

    Args:
        backbone: the trained network.
        mean, std: normalisation that the teacher was trained with.
        batch_mean, batch_std: normalisation of the batches it is given; where they differ the batch is re-normalised.
        device: where it computes.
        autocast: precision of its forward pass, torch.float32 for none.
        channels_last: memory layout of its weights.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        batch_mean: tuple[float, ...],
        batch_std: tuple[float, ...],
        device: torch.device,
        channels_last: bool = True,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone.to(device, memory_format=layout).eval().requires_grad_(False)  # type: ignore[call-overload]
        own_mean, own_std, their_mean, their_std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std, batch_mean, batch_std)
        )
        same = tuple(mean) == tuple(batch_mean) and tuple(std) == tuple(batch_std)
        self._scale = None if same else their_std / own_std
        self._shift = None if same else (their_mean - own_mean) / own_std

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Outputs:
        if self._scale is not None and self._shift is not None:
            x = x * self._scale + self._shift
        return self.backbone(x)

    def shapes(self) -> Shapes:
        """Sizes of its outputs."""
        return self.backbone.shapes()
