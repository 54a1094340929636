"""Optimisers that step without the compiler do what PyTorch's own do, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from support import PATIENCE_S, TinyNet
from torch import nn

from kdengine import optimizers

SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1},
    "SGD, nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "SGD, fused": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "fused": True},
    "SGD, together": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "foreach": True},
    "Adam": {"lr": 1e-2, "betas": (0.5, 0.999)},
    "AdamW": {"lr": 1e-2, "weight_decay": 0.1},
    "AdamW, fused": {"lr": 1e-2, "weight_decay": 0.1, "fused": True},
}


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        net(torch.randn(4, 3, 16, 16, generator=generator)).logits.square().mean().backward()
        optimizer.step()


def twins() -> tuple[TinyNet, TinyNet]:
    torch.manual_seed(0)
    one, other = TinyNet(), TinyNet()
    other.load_state_dict(one.state_dict())
    return one, other


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_and_states_are_those_of_pytorch(name: str) -> None:
    kind, settings = name.partition(",")[0], SETTINGS[name]
    ours, theirs = twins()
    own = getattr(optimizers, kind)(ours.parameters(), **settings)
    reference = getattr(torch.optim, kind)(theirs.parameters(), **settings)
    train(ours, own, 3)
    train(theirs, reference, 3)
    # Half way into a fresh one, as at a resume, and each from the state of the other.
    taken_up = getattr(optimizers, kind)(ours.parameters(), **settings)
    taken_up.load_state_dict(reference.state_dict())
    handed_back = getattr(torch.optim, kind)(theirs.parameters(), **settings)
    handed_back.load_state_dict(own.state_dict())
    train(ours, taken_up, 2)
    train(theirs, handed_back, 2)
    for ours_is, theirs_is in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(ours_is, theirs_is)
    assert str(taken_up) == str(handed_back)
    assert not any(parameter.grad_fn for parameter in ours.parameters())


def test_a_step_leaves_gradients_switched_on_and_calls_its_hooks() -> None:
    net, _ = twins()
    optimizer, called = optimizers.SGD(net.parameters(), lr=0.1), []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    train(net, optimizer, 1)
    assert torch.is_grad_enabled() and called == ["before", "after"]


SCRIPT = """
import sys, torch
from kdengine import optimizers
for kind in (optimizers.SGD, optimizers.Adam, optimizers.AdamW):
    net = torch.nn.Linear(3, 2)
    optimizer = kind([net.weight], lr=0.1)
    optimizer.add_param_group({"params": [net.bias]})
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""


def test_no_method_imports_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
