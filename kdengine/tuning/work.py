"""How much a network computes, roughly and at once: to see whether measuring is worth it.

`kdengine.evaluation.cost` counts exactly, by a counter whose import takes longer than a start may.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdengine.models.backbone import Backbone, evaluating


@torch.no_grad()
def macs_of(net: Backbone) -> int:
    """Multiply-accumulates of the convolutions and linear layers for one image."""
    found = [0]

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        found[0] += output[0].numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(note) for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        with evaluating(net):
            net(torch.zeros(1, 3, net.image_size, net.image_size, device=next(net.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return found[0]
