"""ResNets with importance and blur pooling: size, ablations that reach the plain net, steadiness under shifts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from kdengine.errors import BadInput
from kdengine.evaluation import cost
from kdengine.models import Backbone, build_model
from kdengine.models.blocks import BlurPool, CoordinateImportancePool

STRIDED = {"pool": "strided", "blur_shortcut": False}
NAMES = ("resnet18_cip", "resnet34_cip", "resnet50_cip", "resnet20_cip", "resnet8x4_cip")

# (options, parameters, MACs) of ResNet-34: 32 px with 100 classes, then 224 px with 1000.
BUDGET_AT_32 = [
    (STRIDED, 21.328e6, 1159e6),
    ({"pool": "blur"}, 21.328e6, 1329e6),
    ({}, 21.374e6, 1332e6),
    ({"dense_logit": True}, 24.462e6, 1783e6),
]
BUDGET_AT_224 = [
    (STRIDED, 21.798e6, 3.66e9),
    ({"pool": "blur"}, 21.798e6, 4.18e9),
    ({}, 21.846e6, 4.20e9),
]


def pools(net: Backbone, kind: type) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, kind)]


def net_with(seed: int, name: str, size: int, **options: object) -> Backbone:
    torch.manual_seed(seed)
    return build_model(name, 10, size, **options)


@pytest.mark.parametrize(("options", "parameters", "macs"), BUDGET_AT_32)
def test_budget_at_32(options: dict[str, object], parameters: float, macs: float) -> None:
    with torch.device("meta"):
        found = cost.count(build_model("resnet34_cip", 100, 32, **options))
    assert found.parameters == pytest.approx(parameters, abs=500)
    # The blur filters themselves are counted here: 0.8 M more.
    assert found.macs == pytest.approx(macs, rel=1.2e-3)


@pytest.mark.parametrize(("options", "parameters", "macs"), BUDGET_AT_224)
def test_budget_at_224(options: dict[str, object], parameters: float, macs: float) -> None:
    with torch.device("meta"):
        found = cost.count(build_model("resnet34_cip", 1000, 224, **options))
    assert found.parameters == pytest.approx(parameters, abs=500)
    assert found.macs == pytest.approx(macs, rel=2.5e-3)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_the_plain_net_and_of_the_pools(name: str) -> None:
    plain = build_model(name.removesuffix("_cip"), 10, 32)
    net = build_model(name, 10, 32)
    names = pools(net, CoordinateImportancePool)
    own = sum(cost.count_parameters(net.get_submodule(pool)) for pool in names)
    assert cost.count_parameters(net) == cost.count_parameters(plain) + own
    assert set(plain.state_dict()) <= set(net.state_dict())
    stages = 2 if name in ("resnet20_cip", "resnet8x4_cip") else 3
    assert len(names) == stages and len(pools(net, BlurPool)) == stages


@pytest.mark.parametrize(("name", "size"), [("resnet18_cip", 16), ("resnet50_cip", 16), ("resnet20_cip", 16)])
def test_the_plain_net_is_reached_exactly(name: str, size: int) -> None:
    plain = net_with(0, name.removesuffix("_cip"), size)
    net = net_with(0, name, size, **STRIDED)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    assert list(net.state_dict()) == list(plain.state_dict())
    for training in (True, False):
        first, second = (model.train(training)(images) for model in (plain, net))
        assert torch.equal(first.logits, second.logits)
        assert all(torch.equal(a, b) for a, b in zip(first.stages, second.stages, strict=True))


def test_the_plain_net_is_reached_at_224() -> None:
    plain, net = net_with(0, "resnet18", 224), net_with(0, "resnet18_cip", 224, **STRIDED)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(plain.eval()(images).logits, net.eval()(images).logits)


@pytest.mark.parametrize("name", ["resnet18_cip", "resnet20_cip"])
def test_arms_of_an_ablation_share_their_first_weights(name: str) -> None:
    plain = net_with(4, name.removesuffix("_cip"), 16).state_dict()
    for options in ({}, {"pool": "blur"}, {"blur_shortcut": False}, STRIDED):
        arm = net_with(4, name, 16, **options).state_dict()
        assert all(torch.equal(arm[key], value) for key, value in plain.items())


@pytest.mark.parametrize(
    ("options", "importance", "blur"),
    [({}, 2, 2), ({"pool": "blur"}, 0, 4), ({"blur_shortcut": False}, 2, 0), ({"pool": "strided"}, 0, 2)],
)
def test_each_half_can_stand_alone(options: dict[str, object], importance: int, blur: int) -> None:
    net = build_model("resnet20_cip", 10, 16, **options)
    assert len(pools(net, CoordinateImportancePool)) == importance
    assert len(pools(net, BlurPool)) == blur
    assert [stage[1] for stage in net.shapes().stages] == [16, 8, 4]


def test_the_untrained_block_averages_where_the_paper_pools() -> None:
    net = build_model("resnet20_cip", 10, 16).eval()
    block = net.body.layer2[0]
    x = torch.randn(2, 16, 16, 16)
    pooled = F.avg_pool2d(F.relu(block.conv1(x)), 3, 2, 1, count_include_pad=False) / (1 + 1e-5) ** 0.5
    blurred = block.downsample[2](block.downsample[1](BlurPool(16)(x)))
    with torch.no_grad():
        wanted = F.relu(block.bn2(block.conv2(pooled)) + blurred)
        assert torch.allclose(block(x), wanted, atol=1e-5)


def test_the_stem_at_224_pools_by_importance() -> None:
    for options, kind in (({}, CoordinateImportancePool), ({"pool": "blur"}, BlurPool)):
        net = build_model("resnet18_cip", 10, 224, **options)
        assert any(name.startswith("body.maxpool") for name in pools(net, kind))
        assert net.shapes().stages[0][1:] == (56, 56)


def test_options_reach_the_pools() -> None:
    net = build_model("resnet20_cip", 10, 16, mode="coord", scale=5.0, filter_size=4)
    pool = net.get_submodule(pools(net, CoordinateImportancePool)[0])
    assert pool.scale == 5.0 and pool.local is None
    assert net.get_submodule(pools(net, BlurPool)[0]).filter_size == 4


def test_a_filter_too_large_for_the_maps_is_refused_when_building() -> None:
    with pytest.raises(BadInput, match="a map of 2x2 pixels for a blur filter of size 5"):
        build_model("resnet18_cip", 10, 8, filter_size=5)
    build_model("resnet18_cip", 10, 16, filter_size=5)


def test_every_weight_learns_after_the_first_step() -> None:
    torch.manual_seed(0)
    net = build_model("resnet20_cip", 4, 16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    images, target = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(net(images).logits, target).backward()
        optimizer.step()
    # A bias before batch normalisation has no effect on the result, hence no gradient but rounding.
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_gradients_of_gradients_through_other_weights() -> None:
    torch.manual_seed(0)
    net = build_model("resnet20_cip", 4, 16)
    weights = {name: value.detach().double().requires_grad_() for name, value in net.named_parameters()}
    buffers = {name: value.double() if value.is_floating_point() else value for name, value in net.named_buffers()}
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    loss = F.cross_entropy(functional_call(net, (weights, buffers), (images,)).logits, torch.arange(4))
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    torch.stack([gradient.square().sum() for gradient in gradients]).sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in weights.values())
    assert float(weights["body.conv1.weight"].grad.abs().sum()) > 0


# steadiness under shifts ---------------------------------------------------------------------------------------------


def logit_change(seed: int, **options: object) -> float:
    """Size of the change of the logits under a shift by one pixel, relative to their spread over images."""
    net = net_with(seed, "resnet20_cip", 32, **options).eval()
    calibrate(net, seed)
    images = smooth_noise(16, 34, seed)
    with torch.no_grad():
        here, there = net(images[..., :32, :32]).logits, net(images[..., :32, 1:33]).logits
    spread = here - here.mean(0)
    return float((here - there).norm() / spread.norm())


def calibrate(net: Backbone, seed: int) -> None:
    """Lets batch normalisation see some images, as after training; the weights stay random."""
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net(smooth_noise(32, 32, seed + 100))
    net.eval()


def smooth_noise(count: int, side: int, seed: int) -> Tensor:
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
    smooth = F.avg_pool2d(noise, 3, 1, 1)
    return smooth / smooth.std()


def test_a_shift_changes_the_answer_less() -> None:
    def mean(**options: object) -> float:
        return sum(logit_change(seed, **options) for seed in range(4)) / 4

    strided, both = mean(**STRIDED), mean()
    assert both < 0.6 * strided, f"found {both:.3f} with both kinds of pooling, {strided:.3f} strided"
    assert mean(pool="blur") < 0.6 * strided
