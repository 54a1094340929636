"""The GPU that is not there minds what a real one minds; else the tests that use it would show nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdengine.testing.fake_gpu import WouldWait, fake_gpu
from kdengine.testing.fake_gpu.graphs import FakeGraph, capture

REFUSED: dict[str, Callable[[Tensor], object]] = {
    "two devices": lambda x: x + torch.ones(3),
    "numpy": lambda x: x.numpy(),
    "a generator of the host": lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
    "a state of random numbers on the device": lambda x: torch.cuda.set_rng_state(x),
}
WAITS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "truth": lambda x: bool((x > 0).all()),
    "list": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.ones(3).to(x.device),
    "made of numbers": lambda x: torch.tensor([1.0], device=x.device),
    "assigned by index": lambda x: x.__setitem__(torch.zeros(1, dtype=torch.int64, device=x.device), 1.0),
    "synchronised": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what: str) -> None:
    with fake_gpu(), pytest.raises((RuntimeError, TypeError)):
        REFUSED[what](torch.ones(3).to("cuda"))


@pytest.mark.parametrize("what", WAITS)
def test_it_tells_a_wait_within_a_step_and_refuses_it_within_a_capture(what: str) -> None:
    with fake_gpu() as watch:
        x = torch.ones(3).to("cuda")
        WAITS[what](x)
        with pytest.raises(WouldWait), watch.step():
            WAITS[what](x)
        recording = capture(FakeGraph(), capture_error_mode="thread_local")
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"), recording:
            WAITS[what](x)


def test_a_graph_does_again_what_was_recorded_with_what_lies_in_its_memory_now() -> None:
    with fake_gpu():
        layer, x = nn.BatchNorm1d(3).to("cuda"), torch.randn(4, 3).to("cuda")
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        graph = FakeGraph()
        with capture(graph, capture_error_mode="thread_local"):
            y = layer(x * 2)
        assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items()), "nothing is done"
        x.copy_(torch.randn(4, 3).to("cuda"))
        graph.replay()
        other = nn.BatchNorm1d(3).to("cuda")
        assert torch.equal(y, other(x * 2)) and torch.equal(layer.running_mean, other.running_mean)


def test_operations_without_a_deterministic_form_are_refused_where_that_is_asked_for() -> None:
    with fake_gpu():
        x = torch.ones(1, 1, 4, 4).to("cuda").requires_grad_()
        nn.functional.adaptive_avg_pool2d(x, 2).sum().backward()
        torch.use_deterministic_algorithms(True)
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            nn.functional.adaptive_avg_pool2d(x, 2).sum().backward()
