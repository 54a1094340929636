"""What a network costs: parameters, multiply-accumulates, bytes, latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdengine.methods.base import Method
from kdengine.models.backbone import Backbone, evaluating


@dataclass(frozen=True)
class Cost:
    """Size and work of a deployed network.

    Attributes:
        parameters: number of weights.
        macs: multiply-accumulates of convolutions and linear layers for one image.
        bytes: size of weights and buffers as stored.
    """

    parameters: int
    macs: int
    bytes: int


def count(backbone: Backbone) -> Cost:
    """Counts parameters, MACs at the backbone's image size, and bytes; weights and random state stay as they are."""
    image = blank_images(backbone)
    with evaluating(backbone):
        macs = macs_of(lambda: backbone(image))
    return Cost(count_parameters(backbone), macs, size_in_bytes(backbone))


def training_frame(backbone: Backbone, method: Method) -> dict[str, int]:
    """Parameters of student and method together, and multiply-accumulates of all exits for one image.

    What is trained, beside `count`, what is deployed. A teacher is not counted.
    """
    image = blank_images(backbone)

    def all_exits() -> None:
        outputs = backbone(image)
        for exit_ in method.exits():
            exit_.logits(outputs)

    with evaluating(backbone):
        macs = macs_of(all_exits)
    return {"parameters": count_parameters(backbone) + count_parameters(method), "macs": macs}


def count_parameters(module: nn.Module) -> int:
    """Number of weights, trained or not."""
    return sum(parameter.numel() for parameter in module.parameters())


def size_in_bytes(module: nn.Module) -> int:
    """Bytes of weights and buffers; what a module keeps beside them (extra state) is not counted."""
    tensors = [value for value in module.state_dict().values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def latency(backbone: Backbone, batch_size: int = 1, repeats: int = 10) -> float:
    """Median seconds of one forward pass over ``batch_size`` images on the backbone's device, after two warm-ups."""
    images = blank_images(backbone, batch_size)
    backbone.eval()
    return median_seconds(lambda: backbone(images), images.device, repeats)


def one_thread_latency(backbone: Backbone, repeats: int = 20) -> float:
    """Median seconds of one image alone on one thread of the CPU: what a small device is compared by."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return latency(backbone, repeats=repeats)
    finally:
        torch.set_num_threads(threads)


def blank_images(backbone: Backbone, batch_size: int = 1) -> Tensor:
    """Zeros (B, 3, H, W) of the backbone's image size, where its weights are."""
    side = backbone.image_size
    return torch.zeros(batch_size, 3, side, side, device=next(backbone.parameters()).device)


@torch.no_grad()
def macs_of(call: Callable[[], object]) -> int:
    """Multiply-accumulates of the convolutions, attentions and linear layers that run in a call."""
    # Imported here, for it imports triton, and a run counts only once memory has run out.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops() // 2)


@torch.no_grad()
def median_seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of a call that computes on ``device``, after two warm-ups."""
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])
