"""A quarter of the products, the same convolution: for every net, any map, any number of pictures."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models import build_model, list_models
from kdengine.models.winograd import WinogradConv2d, by_tiles, pays, transformed, with_winograd
from kdengine.training.teacher import FrozenTeacher

PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "batch_mean": (0.5,) * 3, "batch_std": (0.25,) * 3}
CPU = torch.device("cpu")


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def replaced(net: nn.Module) -> list[WinogradConv2d]:
    return [module for module in net.modules() if isinstance(module, WinogradConv2d)]


def wide(bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(128, 160, 3, padding=1, bias=bias).requires_grad_(False)


def assert_near(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) < 2e-5 * float(expected.abs().max())


def test_one_tile_of_ones_by_hand() -> None:
    found = by_tiles(torch.ones(1, 1, 4, 4), transformed(torch.ones(1, 1, 3, 3)), torch.tensor([0.5]))
    corner, edge, middle = 4.5, 6.5, 9.5
    by_hand = [[corner, edge, edge, corner], *[[edge, middle, middle, edge]] * 2, [corner, edge, edge, corner]]
    torch.testing.assert_close(found[0, 0], torch.tensor(by_hand))


def test_a_weight_that_moves_the_picture_moves_it() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 2] = 1  # what lies above, to the right
    picture = torch.arange(64.0).view(1, 1, 8, 8)
    moved = torch.zeros(8, 8)
    moved[1:, :7] = picture[0, 0, :7, 1:]
    torch.testing.assert_close(by_tiles(picture, transformed(weight), torch.zeros(1))[0, 0], moved, atol=1e-4, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape", [(2, 16, 16), (16, 4, 4), (2, 14, 14), (3, 28, 7), (5, 4, 28), (1, 33, 17), (130, 4, 4)]
)
def test_it_is_the_convolution_on_any_map(shape: tuple[int, int, int], bias: bool) -> None:
    count, height, width = shape
    plain, x = wide(bias), noise(count, 128, height, width)
    for layout in (torch.contiguous_format, torch.channels_last):
        quick = WinogradConv2d(plain)(x.to(memory_format=layout))
        assert_near(quick, F.conv2d(x, plain.weight, plain.bias, padding=1))


def test_a_picture_is_answered_alike_in_any_company() -> None:
    quick, x = WinogradConv2d(wide()), noise(37, 128, 8, 8)
    together = quick(x)
    assert_near(torch.cat([quick(x[:5]), quick(x[5:36]), quick(x[36:])]), together)


def test_small_work_and_gradients_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Tensor) -> Tensor:
        raise AssertionError("computed by tiles")

    monkeypatch.setattr("kdengine.models.winograd.by_tiles", never)
    plain = wide()
    quick = WinogradConv2d(plain)
    few, odd, small = noise(15, 128, 4, 4), noise(32, 128, 5, 5), noise(64, 128, 2, 2)
    for x in (few, odd, small):
        assert not pays(x.shape) and torch.equal(quick(x), plain(x))
    x = noise(16, 128, 4, 4).requires_grad_()
    quick(x).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    with pytest.raises(AssertionError, match="by tiles"):
        quick(x.detach())


def test_only_plain_wide_convolutions_are_replaced() -> None:
    body = {
        "wide": nn.Conv2d(128, 128, 3, padding=1),
        "narrow": nn.Conv2d(64, 128, 3, padding=1),
        "point": nn.Conv2d(128, 128, 1),
        "large": nn.Conv2d(128, 128, 5, padding=2),
        "strided": nn.Conv2d(128, 128, 3, padding=1, stride=2),
        "unpadded": nn.Conv2d(128, 128, 3),
        "dilated": nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        "reflecting": nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        "grouped": nn.Conv2d(128, 128, 3, padding=1, groups=2),
    }
    net = with_winograd(nn.ModuleDict(body))  # type: ignore[arg-type]
    assert [name for name, module in net.named_children() if isinstance(module, WinogradConv2d)] == ["wide"]


@pytest.mark.parametrize("name", list_models())
def test_every_net_gives_the_same_outputs(name: str) -> None:
    torch.manual_seed(0)
    plain = build_model(name, 7, 32).eval().requires_grad_(False)
    quick = with_winograd(copy.deepcopy(plain))
    if not replaced(quick):
        assert [type(module) for module in quick.modules()] == [type(module) for module in plain.modules()]
        return
    pictures = noise(16, 3, 32, 32)
    expected, got = plain(pictures), quick(pictures)
    for one, other in zip((*expected[:2], *expected.stages), (*got[:2], *got.stages), strict=True):
        assert float((one - other).abs().max()) <= 5e-5 * float(one.abs().max())


@pytest.mark.parametrize(("name", "count"), [("resnet34", 23), ("resnet32x4", 18), ("vgg13", 7), ("mobilenet_v2", 0)])
def test_a_teacher_uses_it_in_float32_on_a_cpu(name: str, count: int) -> None:
    net = build_model(name, 10, 32)
    kind = {**PLAIN, "device": CPU}
    assert len(replaced(FrozenTeacher(copy.deepcopy(net), **kind)._net)) == count  # type: ignore[arg-type]
    for off in ({"reduced": torch.bfloat16}, {"winograd": False}, {"fold": False}):
        assert not replaced(FrozenTeacher(copy.deepcopy(net), **kind, **off)._net)  # type: ignore[arg-type]


def test_the_teacher_s_own_network_stays_as_it_is() -> None:
    net = build_model("resnet8x4", 10, 32)
    names = list(net.state_dict())
    teacher = FrozenTeacher(net, **PLAIN, device=CPU)  # type: ignore[arg-type]
    assert replaced(teacher._net) and not replaced(net) and list(net.state_dict()) == names
    x = noise(4, 3, 32, 32).requires_grad_()
    teacher.plainly(x).logits.sum().backward()
    assert x.grad is not None


def test_its_memory_is_told() -> None:
    kind = {**PLAIN, "device": CPU}
    direct, quick = (FrozenTeacher(build_model("resnet8x4", 10, 32), **kind, winograd=on) for on in (False, True))  # type: ignore[arg-type]
    wide_weights = sum(module.plain.weight.nbytes for module in replaced(quick._net))
    assert wide_weights > 0 and quick.stored_bytes == direct.stored_bytes + 4 * wide_weights
    alone = FrozenTeacher(build_model("resnet8x4", 10, 32), **kind, fold=False)  # type: ignore[arg-type]
    assert 1.9 * alone.stored_bytes < direct.stored_bytes < 2 * alone.stored_bytes


def test_compiled_it_gives_the_same() -> None:
    quick = nn.Sequential(WinogradConv2d(wide()), nn.ReLU())
    x = noise(3, 128, 16, 16).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert_near(torch.compile(quick, dynamic=False)(x), quick(x))
