"""How fast a step could be at most: per layer the larger of arithmetic and memory traffic, at the measured ceilings.

A convolution or linear layer costs max(operations / peak, bytes / bandwidth), three times in training (forward, and the
gradients of input and weight); a normalisation with its activation passes over its map three times forward and five
times backward. A frozen teacher's normalisations are folded away and its activations fused. No implementation that
computes each layer by itself and multiplies directly can be faster; the share reached is what is left to gain. A
teacher whose convolutions take fewer products (`kdengine.models.winograd`) may pass it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdengine.bench.ceilings import Ceilings
from kdengine.models.backbone import Backbone, evaluating

TRAINING_PASSES = 8


class Work(NamedTuple):
    """What one image costs in a network.

    Attributes:
        layers: (operations, numbers in the maps before and after it, weights) of each convolution and linear layer,
            forward.
        maps: numbers in the maps that are normalised.
    """

    layers: tuple[tuple[float, float, float], ...]
    maps: float

    @property
    def operations(self) -> float:
        """Floating-point operations of the forward pass, two a multiply-accumulate."""
        return sum(layer[0] for layer in self.layers)


@torch.no_grad()
def work(backbone: Backbone) -> Work:
    """Counts a network's work for one image."""
    layers: list[tuple[float, float, float]] = []
    maps = [0.0]

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d):
            maps[0] += output.numel()
            return
        assert isinstance(module, nn.Conv2d | nn.Linear)
        weights = module.weight.numel()
        places = output.numel() / output.shape[1]
        operations = 2 * places * weights
        layers.append((operations, inputs[0].numel() + output.numel(), weights))

    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    hooks = [module.register_forward_hook(note) for module in backbone.modules() if isinstance(module, kinds)]
    side = backbone.image_size
    parameter = next(backbone.parameters())
    try:
        with evaluating(backbone):
            backbone(torch.zeros(1, 3, side, side, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return Work(tuple(layers), maps[0])


def seconds(student: Work, teacher: Work | None, limits: Ceilings, batch_size: int) -> float:
    """Least seconds of a training step for one image.

    Args:
        student: trained; ``teacher``: computed, None where its logits are cached.
        limits: of the machine, in the precision that is computed in.
        batch_size: images that share the reading of the weights.
    """

    def forward(network: Work) -> float:
        return sum(
            max(operations / limits.flops, (moved + weights / batch_size) * limits.bytes_each / limits.bytes)
            for operations, moved, weights in network.layers
        )

    passes = TRAINING_PASSES * student.maps * limits.bytes_each / limits.bytes
    return 3 * forward(student) + passes + (forward(teacher) if teacher is not None else 0.0)


def operations(student: Work, teacher: Work | None) -> float:
    """Floating-point operations of a training step for one image: three passes of the student, one of the teacher."""
    return 3 * student.operations + (teacher.operations if teacher is not None else 0.0)
