"""What a network costs: parameters, multiply-accumulates, bytes, latency."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdengine.methods.base import Method
from kdengine.models.backbone import Backbone, evaluating


@dataclass(frozen=True)
class Cost:
    """Size and work of a deployed network.

    Attributes:
        parameters: number of weights.
        macs: multiply-accumulates of convolutions and linear layers for one picture.
        bytes: size of weights and buffers as stored.
    """

    parameters: int
    macs: int
    bytes: int


def count(backbone: Backbone) -> Cost:
    """Counts parameters, MACs at the backbone's image size, and bytes; weights and random state stay as they are."""
    parameter = next(backbone.parameters())
    blank = torch.zeros(1, 3, backbone.image_size, backbone.image_size, device=parameter.device)
    with torch.no_grad(), evaluating(backbone), FlopCounterMode(display=False) as counter:
        backbone(blank)
    return Cost(count_parameters(backbone), counter.get_total_flops() // 2, size_in_bytes(backbone))


def training_frame(backbone: Backbone, method: Method) -> dict[str, int]:
    """Parameters of student and method together, and multiply-accumulates of all exits for one picture.

    What is trained, beside `count`, what is deployed. A teacher is not counted.
    """
    parameter = next(backbone.parameters())
    blank = torch.zeros(1, 3, backbone.image_size, backbone.image_size, device=parameter.device)
    with torch.no_grad(), evaluating(backbone), FlopCounterMode(display=False) as counter:
        outputs = backbone(blank)
        for exit_ in method.exits():
            exit_.logits(outputs)
    return {
        "parameters": count_parameters(backbone) + count_parameters(method),
        "macs": counter.get_total_flops() // 2,
    }


def count_parameters(module: nn.Module) -> int:
    """Number of weights, trained or not."""
    return sum(parameter.numel() for parameter in module.parameters())


def size_in_bytes(module: nn.Module) -> int:
    """Bytes of weights and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


@torch.no_grad()
def latency(backbone: Backbone, batch_size: int = 1, repeats: int = 10) -> float:
    """Median seconds of one forward pass over ``batch_size`` pictures on the backbone's device, after two warm-ups."""
    parameter = next(backbone.parameters())
    pictures = torch.zeros(batch_size, 3, backbone.image_size, backbone.image_size, device=parameter.device)
    backbone.eval()
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        backbone(pictures)
        if parameter.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])
