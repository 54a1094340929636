"""Compressed nets: size targets, where which convolution stands, channels that reach each other, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdengine.errors import BadInput
from kdengine.evaluation import cost
from kdengine.models import Backbone, build_model

# Millions of parameters and of MACs, 100 classes, 32 px.
TARGETS = [
    ("resnet18_light", {"layout": "grouped", "groups": 4}, 2.981, 145),
    ("resnet18_light", {"layout": "grouped"}, 1.608, 76.5),
    ("resnet18_light", {}, 1.542, 74.5),
    ("resnet18_light", {"layout": "separable"}, 1.493, 73.1),
    ("resnet34_light", {"layout": "grouped", "groups": 4}, 5.514, 296),
    ("resnet34_light", {"layout": "grouped"}, 2.878, 152),
    ("resnet34_light", {}, 2.762, 148),
    ("resnet34_light", {"layout": "separable"}, 2.663, 144),
    ("vgg11_light", {"layout": "grouped"}, 1.211, 20.7),
    ("vgg11_light", {}, 1.167, 20.2),
    ("vgg11_light", {"layout": "separable"}, 1.107, 19.1),
]


def small(**options: object) -> Backbone:
    torch.manual_seed(0)
    return build_model("resnet20_light", 10, 16, **options)


def kinds(net: Backbone) -> list[tuple[int, int]]:
    """(side of the window, groups) of every convolution, in order."""
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return [(conv.kernel_size[0], conv.groups) for conv in convs]


@pytest.mark.parametrize(("name", "options", "parameters", "macs"), TARGETS)
def test_size_targets(name: str, options: dict[str, object], parameters: float, macs: float) -> None:
    with torch.device("meta"):
        found = cost.count(build_model(name, 100, 32, **options))
    assert found.parameters / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert found.macs / 1e6 == pytest.approx(macs, rel=4e-3)


def test_where_which_convolution_stands() -> None:
    assert kinds(small())[:7] == [(3, 1), (3, 4), (3, 16), (1, 1), (3, 4), (3, 16), (1, 1)]
    assert kinds(small(layout="grouped", groups=8))[:4] == [(3, 1), (3, 8), (3, 8), (3, 8)]
    assert kinds(small(layout="separable"))[:5] == [(3, 1), (3, 16), (1, 1), (3, 16), (1, 1)]
    for layout in ("mix", "grouped", "separable"):
        net = small(layout=layout)
        assert net.body.conv1.groups == 1
        assert net.body.layer2[0].downsample[0].groups == 1, "shortcuts stay dense"


@pytest.mark.parametrize("layout", ["mix", "grouped", "separable"])
@pytest.mark.parametrize("name", ["resnet20_light", "resnet18_light"])
def test_shapes_are_those_of_the_plain_net(name: str, layout: str) -> None:
    plain = build_model(name.removesuffix("_light"), 10, 16)
    assert build_model(name, 10, 16, layout=layout).shapes() == plain.shapes()


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_shuffle_lets_all_channels_of_a_block_meet(shuffle: bool) -> None:
    # Of the residual branch alone: does a change in one input channel reach every output channel?
    block = small(layout="grouped", groups=4, shuffle=shuffle).eval().body.layer1[0]
    reached = torch.zeros(16, dtype=torch.bool)
    for seed in range(8):
        x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(seed))
        changed = x.clone()
        changed[:, 0] += 3.0
        with torch.no_grad():
            before, after = (block.conv2(torch.relu(block.bn1(block.conv1(maps)))) for maps in (x, changed))
        reached |= (before - after).abs().amax((0, 2, 3)) > 1e-6
    assert int(reached.sum()) == (16 if shuffle else 4)


def test_the_shuffle_is_a_permutation_and_only_for_grouped_neighbours() -> None:
    shuffled, plain = small(layout="grouped", groups=8), small(layout="grouped", groups=8, shuffle=False)
    assert cost.count(shuffled).parameters == cost.count(plain).parameters
    shuffle = shuffled.body.layer1[0].conv2[0]
    channels = torch.arange(16.0).view(1, 16, 1, 1)
    # Channels 0..15 in 8 groups of 2: the first of each group, then the second of each.
    assert shuffle(channels).flatten().tolist() == [*range(0, 16, 2), *range(1, 16, 2)]
    assert kinds(small(shuffle=True)) == kinds(small(shuffle=False))


def test_groups_that_do_not_divide_are_refused_in_words() -> None:
    with pytest.raises(BadInput, match=r"student.groups: 12 groups do not divide the 16 channels"):
        small(groups=12)
    small(groups=12, layout="separable")


def test_vgg_has_one_linear_layer_and_at_least_32_px() -> None:
    with torch.device("meta"):
        net = build_model("vgg11_light", 10, 32)
    assert [type(layer) for layer in net.body.classifier] == [nn.Linear]
    with pytest.raises(BadInput, match="use at least 32 px"):
        build_model("vgg11_light", 10, 16)


@pytest.mark.parametrize("layout", ["mix", "grouped", "separable"])
def test_signals_keep_their_size_through_an_untrained_net(layout: str) -> None:
    net = small(layout=layout)
    seen = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: seen.append(float(out.detach().std())))
    net.train()(torch.randn(16, 3, 16, 16))
    assert all(0.2 < size < 5 for size in seen), seen


@pytest.mark.parametrize("layout", ["mix", "grouped", "separable"])
def test_every_weight_has_a_gradient(layout: str) -> None:
    net = small(layout=layout)
    net(torch.randn(8, 3, 16, 16)).logits.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
