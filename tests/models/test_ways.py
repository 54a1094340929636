"""Every way to compute a convolution gives the same; a teacher computes in those that are chosen for it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models import Backbone, build_model
from kdengine.models.ways import DIRECT, OTHER_LAYOUT, as_in_version_1, computed, possible, ways_of, with_ways
from kdengine.models.winograd import WinogradConv2d
from kdengine.training.teacher import FrozenTeacher

PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "batch_mean": (0.5,) * 3, "batch_std": (0.25,) * 3}
CPU = torch.device("cpu")
CONVOLUTIONS = {
    "wide": nn.Conv2d(64, 96, 3, padding=1),
    "without bias": nn.Conv2d(64, 96, 3, padding=1, bias=False),
    "strided": nn.Conv2d(16, 32, 3, padding=1, stride=2),
    "depthwise": nn.Conv2d(48, 48, 5, padding=2, groups=48),
    "pointwise": nn.Conv2d(24, 40, 1),
    "dilated": nn.Conv2d(8, 8, 3, padding=2, dilation=2),
    "reflecting": nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
}
LAYOUTS = (torch.channels_last, torch.contiguous_format)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_way_gives_the_same_in_the_layout_it_was_given(kind: str, layout: torch.memory_format) -> None:
    plain = copy.deepcopy(CONVOLUTIONS[kind]).requires_grad_(False).to(memory_format=layout)  # type: ignore[call-overload]
    x = noise(16, plain.in_channels, 8, 8).contiguous(memory_format=layout)
    expected = plain(x)
    ways = ways_of(plain, x.shape)
    assert ways[:2] == (DIRECT, OTHER_LAYOUT) and len(ways) == (6 if kind in ("wide", "without bias") else 2)
    for way in ways:
        found = computed(plain, way)(x)
        assert float((found - expected).abs().max()) <= 3e-5 * float(expected.abs().max()), way
        if "tiles" not in way:
            assert found.is_contiguous(memory_format=layout), way


@pytest.mark.parametrize("way", ways_of(CONVOLUTIONS["wide"], torch.Size((16, 64, 8, 8))))
def test_gradients_pass_through_every_way(way: str) -> None:
    plain = copy.deepcopy(CONVOLUTIONS["wide"]).requires_grad_(False)
    slopes = []
    for module in (plain, computed(plain, way)):
        x = noise(16, 64, 8, 8).requires_grad_()
        module(x).square().sum().backward()
        slopes.append(x.grad)
    torch.testing.assert_close(*slopes)


def test_the_other_layout_is_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    before = F.conv2d

    def looking(x: Tensor, weight: Tensor, *more: object) -> Tensor:
        seen.append(x.is_contiguous() and weight.is_contiguous())
        return before(x, weight, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "conv2d", looking)
    plain = copy.deepcopy(CONVOLUTIONS["wide"]).requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = noise(4, 64, 8, 8).contiguous(memory_format=torch.channels_last)
    plain(x)
    computed(plain, OTHER_LAYOUT)(x)
    assert seen == [False, True]


def test_where_tiles_are_no_way() -> None:
    few, elsewhere = torch.Size((2, 64, 4, 4)), nn.Conv2d(64, 96, 3, padding=1, device="meta")
    assert ways_of(CONVOLUTIONS["wide"], few) == (DIRECT, OTHER_LAYOUT)
    assert ways_of(elsewhere, torch.Size((64, 64, 8, 8))) == (DIRECT,)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("body.layer1.0.conv1", "grouped tiles, 77"),
        ("body.layer1.0.conv1", "quickly"),
        ("body.layer2.0.conv1", "grouped tiles, 64"),
        ("body.layer1.0", OTHER_LAYOUT),
        ("nowhere", DIRECT),
    ],
)
def test_what_is_no_way_is_refused(name: str, way: str) -> None:
    net = build_model("resnet18", 10, 32)
    assert not possible(net, name, way)
    with pytest.raises(ValueError, match=name):
        with_ways(net, {name: way})


@pytest.mark.parametrize(("name", "count"), [("resnet34", 23), ("resnet32x4", 18), ("vgg13", 7), ("mobilenet_v2", 0)])
def test_what_earlier_versions_computed_by_tiles(name: str, count: int) -> None:
    net = build_model(name, 10, 32)
    ways = as_in_version_1(net)
    assert len(ways) == count and all(possible(net, place, way) for place, way in ways.items())


def tiled(net: nn.Module) -> list[WinogradConv2d]:
    return [module for module in net.modules() if isinstance(module, WinogradConv2d)]


@pytest.mark.parametrize("fold", [True, False])
def test_a_teacher_computes_as_is_chosen_and_its_own_network_stays_as_it_is(fold: bool) -> None:
    net = build_model("resnet8x4", 10, 32)
    names = list(net.state_dict())
    asked: list[Backbone] = []

    def choose(computing: Backbone) -> dict[str, str]:
        asked.append(computing)
        return as_in_version_1(computing)

    teacher = FrozenTeacher(net, **PLAIN, device=CPU, fold=fold, choose=choose)  # type: ignore[arg-type]
    plain = FrozenTeacher(copy.deepcopy(net), **PLAIN, device=CPU, fold=fold)  # type: ignore[arg-type]
    assert len(tiled(teacher._net)) == 2 and not tiled(net) and not tiled(plain._net)
    assert list(net.state_dict()) == names
    norms = [module for module in asked[0].modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) != fold, "the choice is for the network that computes"
    x = noise(16, 3, 32, 32)
    assert float((teacher(x).logits - plain(x).logits).abs().max()) < 5e-5 * float(plain(x).logits.abs().max())
    x.requires_grad_()
    teacher.plainly(x).logits.sum().backward()
    assert x.grad is not None


def test_the_memory_of_a_teacher_s_weights_is_told() -> None:
    kind = {**PLAIN, "device": CPU}
    direct = FrozenTeacher(build_model("resnet8x4", 10, 32), **kind)  # type: ignore[arg-type]
    quick = FrozenTeacher(build_model("resnet8x4", 10, 32), **kind, choose=as_in_version_1)  # type: ignore[arg-type]
    wide = sum(module.plain.weight.nbytes for module in tiled(quick._net))
    assert wide > 0 and quick.stored_bytes == direct.stored_bytes + 4 * wide
    alone = FrozenTeacher(build_model("resnet8x4", 10, 32), **kind, fold=False)  # type: ignore[arg-type]
    assert 1.9 * alone.stored_bytes < direct.stored_bytes < 2 * alone.stored_bytes
