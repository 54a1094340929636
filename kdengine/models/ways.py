"""The ways in which a frozen convolution can be computed: all give the same up to rounding, one is the fastest.

Which one that is depends on the processor, the libraries that PyTorch was built with and the number of threads, so it
is measured (`kdengine.tuning`), never assumed. A way is a word or two, as files and tables hold it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdengine.models.backbone import Backbone
from kdengine.models.winograd import Product, Tiles, WinogradConv2d, fits, pays, products

DIRECT = "direct"
"""As the network has it; exact."""
OTHER_LAYOUT = "other layout"
"""Multiplied directly in the other memory layout, with a copy before and after; exact."""

AT_ONCE: Mapping[Product, tuple[int, ...]] = {"batched": (128,), "grouped": (64, 128, 256)}
"""Tiles at once that are tried. Seen on two kinds of processor: the batched product is level between 64 and 256."""

_TILED = {f"{product} tiles, {count}": Tiles(product, count) for product, counts in AT_ONCE.items() for count in counts}


def ways_of(convolution: nn.Conv2d, shape: torch.Size) -> tuple[str, ...]:
    """The ways to compute a convolution on maps of shape (B, C, H, W), `DIRECT` first."""
    if convolution.weight.device.type != "cpu":
        return (DIRECT,)
    tiled = [way for way, tiles in _TILED.items() if tiles.product in products()]
    return (DIRECT, OTHER_LAYOUT, *(tiled if fits(convolution) and pays(shape) else ()))


def computed(convolution: nn.Conv2d, way: str) -> nn.Module:
    """The convolution computed in a way that is `possible`."""
    if way == DIRECT:
        return convolution
    if way == OTHER_LAYOUT:
        return OtherLayoutConv2d(convolution)
    return WinogradConv2d(convolution, _TILED[way])


def possible(backbone: Backbone, name: str, way: str) -> bool:
    """Whether the module of that name is a convolution that can be computed in that way here."""
    # Exact type: a subclass may do more than its name says.
    module = dict(backbone.named_modules()).get(name)
    if type(module) is not nn.Conv2d:
        return False
    tiles = _TILED.get(way)
    tiled = tiles is not None and tiles.product in products() and fits(module)
    return tiled or way in (DIRECT, OTHER_LAYOUT)


def with_ways(backbone: Backbone, ways: Mapping[str, str]) -> Backbone:
    """The same frozen network, its convolutions computed in the given ways, by the names of their modules.

    Raises ValueError for a name that is no convolution, and for a way that there is not here.
    """
    for name, way in ways.items():
        if not possible(backbone, name, way):
            raise ValueError(f"{name!r} of this network cannot be computed in the way {way!r} here")
        backbone.set_submodule(name, computed(backbone.get_submodule(name), way))  # type: ignore[arg-type]
    return backbone


def as_in_version_1(backbone: Backbone) -> dict[str, str]:
    """The ways that runs were begun with before ways were measured: tiles from 128 channels on, whatever the machine.

    For resuming such runs bit for bit.
    """
    return {
        name: "batched tiles, 128"
        for name, module in backbone.named_modules()
        if type(module) is nn.Conv2d and fits(module) and min(module.in_channels, module.out_channels) >= 128
    }


class OtherLayoutConv2d(nn.Module):
    """A frozen convolution computed in the memory layout that the network around it does not have."""

    weight: Tensor

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.plain = plain
        last = plain.weight.is_contiguous(memory_format=torch.channels_last)
        self.layout = torch.contiguous_format if last else torch.channels_last
        self.register_buffer("weight", plain.weight.detach().contiguous(memory_format=self.layout), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H', W') in the layout of x."""
        found: Tensor
        if x.requires_grad:
            found = self.plain(x)
            return found
        last = x.is_contiguous(memory_format=torch.channels_last)
        inner = self.plain._conv_forward(x.contiguous(memory_format=self.layout), self.weight, self.plain.bias)
        found = inner.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        return found
