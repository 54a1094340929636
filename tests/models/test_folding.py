"""Folding changes how a network computes, never what: same outputs, fewer normalisations, original untouched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from kdengine.models import Outputs, build_model, list_models
from kdengine.models.backbone import Backbone
from kdengine.models.folding import folded


def seen_something(net: nn.Module) -> nn.Module:
    """Statistics and weights as training leaves them: fresh ones would hide a wrong fold."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.3 * torch.randn(module.num_features, generator=generator)
            module.running_var = 0.5 + torch.rand(module.num_features, generator=generator)
            module.weight.data = 0.5 + torch.rand(module.num_features, generator=generator)
            module.bias.data = 0.2 * torch.randn(module.num_features, generator=generator)
    return net


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize("name", list_models())
def test_a_folded_net_gives_the_same_outputs(name: str) -> None:
    net = build_model(name, 7, 32)
    seen_something(net)
    net.train()
    before = copy.deepcopy(net.state_dict())
    quick = folded(net)
    assert net.training and not quick.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, got = net.eval()(images), quick(images)
    for one, other in zip((*expected[:2], *expected.stages), (*got[:2], *got.stages), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
    assert norms(quick) <= norms(net) / 1.9, "at least every second normalisation is gone"


class Branching(Backbone):
    """The first convolution feeds its normalisation and a short cut around it; the second its normalisation alone."""

    def __init__(self) -> None:
        body = nn.ModuleDict(
            {
                "first": nn.Conv2d(3, 4, 3, padding=1),
                "norm": nn.BatchNorm2d(4),
                "second": nn.Conv2d(4, 4, 3, padding=1),
                "other": nn.BatchNorm2d(4),
                "fc": nn.Linear(4, 2),
            }
        )
        super().__init__(body, "branching", 8)

    def forward(self, x: Tensor) -> Outputs:
        body = self.body
        assert isinstance(body, nn.ModuleDict)
        first = body["first"](x)
        last = body["other"](body["second"](body["norm"](first).relu())) + first
        embedding = last.mean(dim=(2, 3))
        return Outputs(body["fc"](embedding), embedding, (last,))


def test_what_cannot_be_folded_stays() -> None:
    net = seen_something(Branching()).eval()
    assert isinstance(net, Branching)
    quick = folded(net)
    assert isinstance(quick.body["norm"], nn.BatchNorm2d) and isinstance(quick.body["other"], nn.Identity)  # type: ignore[index]
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(quick(images).logits, net(images).logits)


def test_no_random_number_is_drawn() -> None:
    net = build_model("resnet8x4", 3, 16)
    before = torch.get_rng_state()
    folded(net)
    assert torch.equal(torch.get_rng_state(), before)
