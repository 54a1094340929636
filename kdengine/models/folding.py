"""Batch normalisation folded into the convolution before it: the same function in fewer passes over the maps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kdengine.models.backbone import Backbone, Outputs

TOLERANCE = 1e-4
"""How far an output may move, relative to its largest value; rounding moves it by some 1e-6."""


@torch.no_grad()
def folded(backbone: Backbone) -> Backbone:
    """A copy in eval mode whose batch normalisations are folded into the convolutions before them, where they can be.

    Which pairs there are is seen in a forward pass, so any body will do. A fold must leave all of `Outputs` as it was
    on random pictures, stage maps too; a pair that does not (its convolution feeds something else besides) stays.
    The network given is not changed, and no random number is drawn from the global generator.
    """
    plain = copy.deepcopy(backbone).eval()
    parameter = next(plain.parameters())
    generator = torch.Generator().manual_seed(0)
    side = plain.image_size
    pictures = torch.randn(2, 3, side, side, generator=generator).to(parameter.device, parameter.dtype)
    expected = plain(pictures)
    pairs = _pairs(plain, pictures)
    candidate = _with_folds(plain, pairs)
    if _agree(expected, candidate(pictures)):
        return candidate
    harmless = [pair for pair in pairs if _agree(expected, _with_folds(plain, [pair])(pictures))]
    candidate = _with_folds(plain, harmless)
    return candidate if _agree(expected, candidate(pictures)) else plain


def _pairs(backbone: Backbone, pictures: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions whose result goes straight into a batch normalisation, and of that; each used once."""
    names = {module: name for name, module in backbone.named_modules()}
    made: dict[int, tuple[Tensor, nn.Module]] = {}  # the tensors are kept: a freed one's id could come again
    found: list[tuple[nn.Module, nn.Module]] = []
    calls: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (output, module)
        elif id(inputs[0]) in made:
            found.append((made[id(inputs[0])][1], module))

    # Exact types: a subclass may do more than its name says (timm's norms hold an activation).
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [module.register_forward_hook(note) for module in backbone.modules() if type(module) in kinds]
    try:
        backbone(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return [(names[one], names[other]) for one, other in found if calls[one] == calls[other] == 1]


def _with_folds(plain: Backbone, pairs: list[tuple[str, str]]) -> Backbone:
    """A copy with those pairs folded."""
    copied = copy.deepcopy(plain)
    for convolution, norm in pairs:
        _fold(copied.get_submodule(convolution), copied.get_submodule(norm))  # type: ignore[arg-type]
        copied.set_submodule(norm, nn.Identity())
    return copied


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    layout = torch.channels_last if convolution.weight.is_contiguous(memory_format=torch.channels_last) else None
    kept = weight.contiguous(memory_format=layout) if layout is not None else weight
    convolution.weight = nn.Parameter(kept, requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)


def _agree(plain: Outputs, candidate: Outputs) -> bool:
    pairs = zip((*plain[:2], *plain.stages), (*candidate[:2], *candidate.stages), strict=True)
    return all(
        float((one - other).abs().max()) <= TOLERANCE * max(float(one.abs().max()), 1e-6) for one, other in pairs
    )
