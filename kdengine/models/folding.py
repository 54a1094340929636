"""Batch normalisation folded into the convolution before it: the same function in fewer passes over the maps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    on random images, stage maps too; a pair that does not (its convolution feeds something else besides) stays.
    The network given is not changed, and no random number is drawn from the global generator.
    """
    found = copy.deepcopy(backbone).eval()
    parameter = next(found.parameters())
    generator = torch.Generator().manual_seed(0)
    side = found.image_size
    images = torch.randn(2, 3, side, side, generator=generator).to(parameter.device, parameter.dtype)
    with _full_precision(parameter.device):
        expected = found(images)
        pairs = _pairs(found, images)
        undone = [_fold(found, *pair) for pair in pairs]
        if _agree(expected, found(images)):
            return found
        for undo in reversed(undone):
            undo()
        # One after the other, in the same copy: what changes an output is undone.
        for pair in pairs:
            undo = _fold(found, *pair)
            if not _agree(expected, found(images)):
                undo()
    return found


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Products of float32 numbers as they are: rounded as TF32 does, no network would agree with its folded form."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def _pairs(backbone: Backbone, images: Tensor) -> list[tuple[str, str]]:
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
        backbone(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [(names[one], names[other]) for one, other in found if calls[one] == calls[other] == 1]


def _fold(backbone: Backbone, convolution: str, norm: str) -> Callable[[], None]:
    """Folds a pair, by the names of its modules; returns what takes that back."""
    one: nn.Conv2d = backbone.get_submodule(convolution)  # type: ignore[assignment]
    other: nn.BatchNorm2d = backbone.get_submodule(norm)  # type: ignore[assignment]
    assert other.running_mean is not None and other.running_var is not None
    before = one.weight, one.bias
    weight, bias = fuse_conv_bn_weights(
        one.weight, one.bias, other.running_mean, other.running_var, other.eps, other.weight, other.bias
    )
    layout = torch.channels_last if one.weight.is_contiguous(memory_format=torch.channels_last) else None
    kept = weight.contiguous(memory_format=layout) if layout is not None else weight
    one.weight = nn.Parameter(kept, requires_grad=False)
    one.bias = nn.Parameter(bias, requires_grad=False)
    backbone.set_submodule(norm, nn.Identity())

    def undo() -> None:
        one.weight, one.bias = before
        backbone.set_submodule(norm, other)

    return undo


def _agree(plain: Outputs, candidate: Outputs) -> bool:
    pairs = zip((*plain[:2], *plain.stages), (*candidate[:2], *candidate.stages), strict=True)
    return all(
        float((one - other).abs().max()) <= TOLERANCE * max(float(one.abs().max()), 1e-6) for one, other in pairs
    )
