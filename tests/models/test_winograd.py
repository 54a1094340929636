"""A quarter of the products, the same convolution: for every net, any map, any number of images."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.models import build_model, list_models
from kdengine.models.winograd import Tiles, WinogradConv2d, fits, pays, products

SMALL = [Tiles(product, 32) for product in products()]
both = pytest.mark.parametrize("tiles", SMALL, ids=lambda tiles: tiles.product)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def wide(bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(128, 160, 3, padding=1, bias=bias).requires_grad_(False)


def quick(weight: Tensor, tiles: Tiles, bias: float = 0.0) -> WinogradConv2d:
    """The convolution with these weights (K, C, 3, 3)."""
    plain = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1).requires_grad_(False)
    plain.weight.copy_(weight)
    plain.bias.fill_(bias)  # type: ignore[union-attr]
    return WinogradConv2d(plain, tiles)


def assert_near(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) < 3e-5 * float(expected.abs().max())


def test_this_pytorch_has_both_products() -> None:
    assert products() == ("batched", "grouped")


@both
def test_tiles_of_ones_by_hand(tiles: Tiles) -> None:
    found = quick(torch.ones(1, 1, 3, 3), tiles, 0.5)(torch.ones(4, 1, 8, 8))
    corner, edge, middle = 4.5, 6.5, 9.5
    outer, inner = [corner, *[edge] * 6, corner], [edge, *[middle] * 6, edge]
    torch.testing.assert_close(found[3, 0], torch.tensor([outer, *[inner] * 6, outer]))


@both
def test_a_weight_that_moves_the_image_moves_it(tiles: Tiles) -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 2] = 1  # what lies above, to the right
    images = torch.arange(256.0).view(4, 1, 8, 8)
    moved = torch.zeros(8, 8)
    moved[1:, :7] = images[2, 0, :7, 1:]
    torch.testing.assert_close(quick(weight, tiles)(images)[2, 0], moved, atol=1e-4, rtol=1e-5)


@both
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape", [(2, 16, 16), (16, 4, 4), (2, 14, 14), (3, 28, 7), (5, 4, 28), (1, 33, 17), (130, 4, 4)]
)
def test_it_is_the_convolution_on_any_map(shape: tuple[int, int, int], bias: bool, tiles: Tiles) -> None:
    count, height, width = shape
    plain, x = wide(bias), noise(count, 128, height, width)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = WinogradConv2d(plain, tiles)(x.to(memory_format=layout))
        assert_near(found, F.conv2d(x, plain.weight, plain.bias, padding=1))


@both
@pytest.mark.parametrize("at_once", [1, 16, 50, 1000])
def test_an_image_gets_the_same_however_many_tiles_are_computed_at_once(tiles: Tiles, at_once: int) -> None:
    plain, x = wide(), noise(37, 128, 8, 8)
    some = WinogradConv2d(plain, tiles._replace(at_once=at_once))
    together = some(x)
    assert_near(together, F.conv2d(x, plain.weight, plain.bias, padding=1))
    assert_near(torch.cat([some(x[:5]), some(x[5:36]), some(x[36:])]), together)


@both
def test_small_work_and_gradients_go_the_plain_way(tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Tensor:
        raise AssertionError("computed by tiles")

    monkeypatch.setattr("kdengine.models.winograd.by_tiles", never)
    plain = wide()
    tiled = WinogradConv2d(plain, tiles)
    few, odd, small = noise(15, 128, 4, 4), noise(32, 128, 5, 5), noise(64, 128, 2, 2)
    for x in (few, odd, small):
        assert not pays(x.shape) and torch.equal(tiled(x), plain(x))
    x = noise(16, 128, 4, 4).requires_grad_()
    tiled(x).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    with pytest.raises(AssertionError, match="by tiles"):
        tiled(x.detach())


def test_which_convolutions_fit() -> None:
    there = {
        "plain": nn.Conv2d(64, 128, 3, padding=1),
        "point": nn.Conv2d(128, 128, 1),
        "large": nn.Conv2d(128, 128, 5, padding=2),
        "strided": nn.Conv2d(128, 128, 3, padding=1, stride=2),
        "unpadded": nn.Conv2d(128, 128, 3),
        "dilated": nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        "reflecting": nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        "grouped": nn.Conv2d(128, 128, 3, padding=1, groups=2),
        "elsewhere": nn.Conv2d(128, 128, 3, padding=1, device="meta"),
    }
    assert [name for name, convolution in there.items() if fits(convolution)] == ["plain"]


@both
@pytest.mark.parametrize("name", list_models())
def test_every_net_gives_the_same_outputs(name: str, tiles: Tiles) -> None:
    torch.manual_seed(0)
    plain = build_model(name, 7, 32).eval().requires_grad_(False)
    tiled = copy.deepcopy(plain)
    for place, module in list(tiled.named_modules()):
        if type(module) is nn.Conv2d and fits(module):
            tiled.set_submodule(place, WinogradConv2d(module, tiles))
    images = noise(16, 3, 32, 32)
    expected, got = plain(images), tiled(images)
    for one, other in zip((*expected[:2], *expected.stages), (*got[:2], *got.stages), strict=True):
        assert float((one - other).abs().max()) <= 1e-4 * float(one.abs().max())


@both
def test_under_autocast_it_computes_in_float32_and_gives_what_it_was_given(tiles: Tiles) -> None:
    plain, x = wide(), noise(16, 128, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = WinogradConv2d(plain, tiles)(x)
    assert found.dtype == torch.bfloat16
    exact = F.conv2d(x.float(), plain.weight, plain.bias, padding=1)
    assert torch.equal(found, exact.bfloat16()) or float((found.float() - exact).abs().max()) < 5e-3 * float(
        exact.abs().max()
    )


@both
def test_its_memory_is_told(tiles: Tiles) -> None:
    plain = wide()
    assert WinogradConv2d(plain, tiles).stored_bytes == 4 * plain.weight.nbytes


@both
def test_compiled_it_gives_the_same(tiles: Tiles) -> None:
    tiled = nn.Sequential(WinogradConv2d(wide(), tiles), nn.ReLU())
    x = noise(3, 128, 16, 16).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert_near(torch.compile(tiled, dynamic=False)(x), tiled(x))
