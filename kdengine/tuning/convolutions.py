"""The way in which each convolution of a frozen network is computed, chosen by timing all there are in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdengine.models.backbone import Backbone, evaluating
from kdengine.models.ways import DIRECT, computed, ways_of
from kdengine.tuning.cache import MeasuredTimes, Times, open_times
from kdengine.tuning.timing import Budget, least_seconds, preferred

BUDGET_S = 1.0
"""Seconds for all convolutions of a network; those that take most of its work come first."""
PIXELS = 4096
"""Of all images together that a candidate is timed with: 256 tiles, so that it works as in a full batch."""
MIN_IMAGES = 4
MIN_SHARE = 0.01
"""Of the network's work; what takes less is left as it is."""
WORSE = 1.1
"""So many times slower than directly may a choice be that was measured before; else it is measured anew."""


@dataclass
class Kind:
    """Convolutions of a network that cost the same.

    Attributes:
        convolution: one of them.
        shape: of its maps, (B, C, H, W).
        layers: names of all.
        work: multiply-accumulates for one image, all layers.
    """

    convolution: nn.Conv2d
    shape: torch.Size
    layers: list[str] = field(default_factory=list)
    work: float = 0.0


@dataclass(frozen=True)
class Choice:
    """How convolutions of one kind are computed, and why.

    Attributes:
        what: the kind, in words.
        layers: names of the modules.
        way: chosen of `kdengine.models.ways`.
        times: least seconds of each way, of the images it was timed with; {} where the budget was spent before.
    """

    what: str
    layers: tuple[str, ...]
    way: str
    times: Mapping[str, float]


def choose_ways(
    net: Backbone,
    batch_size: int,
    cache: Path,
    reduced: torch.dtype | None = None,
    budget_s: float = BUDGET_S,
    tried: bool = True,
) -> list[Choice]:
    """Chooses for every convolution that takes a share of the network's work; reads what was measured before.

    Args:
        net: frozen, in eval mode, on the CPU, as it will compute.
        batch_size: images in a batch.
        cache: folder of the workspace.
        reduced: what it computes in under autocast; None = float32.
        budget_s: seconds for measuring. What is then not measured stays direct, in this run alone.
        tried: whether what was measured before is tried against computing directly before it is believed.
    """
    kinds = _kinds(net, batch_size)
    total = sum(kind.work for kind in kinds.values())
    size = f"batches of {batch_size}, {str(reduced or torch.float32).removeprefix('torch.')}"
    heavy = sorted(
        ((f"{words}, {size}", kind) for words, kind in kinds.items() if kind.work >= MIN_SHARE * total),
        key=lambda pair: -pair[1].work,
    )
    budget = Budget(budget_s)
    with open_times(cache) as known, _computing(reduced):
        return [_choose(what, kind, known, budget, reduced, tried) for what, kind in heavy]


def by_layer(choices: Iterable[Choice]) -> dict[str, str]:
    """The ways by the names of the modules, without those that are direct."""
    return {name: choice.way for choice in choices for name in choice.layers if choice.way != DIRECT}


def _choose(
    what: str, kind: Kind, known: MeasuredTimes, budget: Budget, reduced: torch.dtype | None, tried: bool
) -> Choice:
    ways = ways_of(kind.convolution, kind.shape)
    times = known.get(what, set(ways))
    if times is None or (tried and not _holds(kind, times, budget, reduced)):
        times = least_seconds(_calls(kind, ways, reduced), budget)
        if times:
            known.put(what, times)
    return Choice(what, tuple(kind.layers), preferred(times, DIRECT), times)


def _holds(kind: Kind, times: Times, budget: Budget, reduced: torch.dtype | None) -> bool:
    """Whether what was measured before is still no worse than computing directly."""
    way = preferred(times, DIRECT)
    if way == DIRECT:
        return True
    now = least_seconds(_calls(kind, (DIRECT, way), reduced), budget)
    return not now or now[way] <= WORSE * now[DIRECT]


def _calls(kind: Kind, ways: Iterable[str], reduced: torch.dtype | None) -> dict[str, Callable[[], Tensor]]:
    count, channels, height, width = kind.shape
    images = min(count, max(MIN_IMAGES, -(-PIXELS // (height * width))))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, channels, height, width, generator=generator).to(reduced or torch.float32)
    if kind.convolution.weight.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous(memory_format=torch.channels_last)
    modules = {way: computed(kind.convolution, way) for way in ways}
    return {way: lambda module=module: module(x) for way, module in modules.items()}  # type: ignore[misc]


@torch.no_grad()
def _kinds(net: Backbone, batch_size: int) -> dict[str, Kind]:
    """The network's convolutions by what they cost, in words."""
    names = {module: name for name, module in net.named_modules() if type(module) is nn.Conv2d}
    kinds: dict[str, Kind] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        shape = torch.Size((batch_size, *inputs[0].shape[1:]))
        kind = kinds.setdefault(_words(module, shape), Kind(module, shape))
        if names[module] not in kind.layers:
            kind.layers.append(names[module])
        kind.work += output[0].numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        with evaluating(net):
            net(torch.zeros(1, 3, net.image_size, net.image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return kinds


def _words(convolution: nn.Conv2d, shape: torch.Size) -> str:
    """Such as "3x3 convolution of 64 to 128 channels, stride 2, on 32x32, channels_last"."""
    size = "x".join(map(str, convolution.kernel_size))
    words = [f"{size} convolution of {convolution.in_channels} to {convolution.out_channels} channels"]
    usual = (1, 1), tuple(side // 2 for side in convolution.kernel_size), (1, 1), 1, "zeros"
    special = zip(("stride", "padding", "dilation", "groups", "padding_mode"), usual, strict=True)
    words += [f"{name} {getattr(convolution, name)}" for name, value in special if getattr(convolution, name) != value]
    words.append(f"on {shape[2]}x{shape[3]}")
    last = convolution.weight.is_contiguous(memory_format=torch.channels_last)
    return ", ".join([*words, "channels_last" if last else "contiguous"])


@contextlib.contextmanager
def _computing(reduced: torch.dtype | None) -> Iterator[None]:
    """As the network will: without gradients, under its autocast."""
    with torch.no_grad(), torch.autocast("cpu", dtype=reduced, enabled=reduced is not None):
        yield
