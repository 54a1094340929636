"""The modules of the papers against closed forms, known limits and invariances; safe at extreme values."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from kdengine.errors import BadInput
from kdengine.models.blocks import (
    CBAM,
    ECA,
    BlurPool,
    CoordinateAttention,
    CoordinateImportancePool,
    SimAM,
    SpatialGroupEnhance,
    local_importance_pool,
)

ATTENTIONS: dict[str, Callable[[], nn.Module]] = {
    "coordinate": lambda: CoordinateAttention(8),
    "sge": lambda: SpatialGroupEnhance(4),
    "simam": SimAM,
    "eca": lambda: ECA(8),
    "cbam": lambda: CBAM(8),
}
POOLS: dict[str, Callable[[], nn.Module]] = {
    "coord_local": lambda: CoordinateImportancePool(8),
    "coord": lambda: CoordinateImportancePool(8, mode="coord"),
    "dense": lambda: CoordinateImportancePool(8, dense=True),
    "blur": lambda: BlurPool(8),
}
BLOCKS = ATTENTIONS | POOLS


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(block: nn.Module, seed: int = 1) -> nn.Module:
    """The block with random weights, so that nothing hides behind a zero start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return block


def count(block: nn.Module) -> int:
    return sum(parameter.numel() for parameter in block.parameters())


def by_hand(x: Tensor, logit: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Local importance pooling as its formula is written, window by window, in float64."""
    x, logit = x.double(), logit.double()
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
    out = torch.empty(*x.shape[:2], height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            rows = slice(max(i * stride - padding, 0), i * stride - padding + kernel)
            columns = slice(max(j * stride - padding, 0), j * stride - padding + kernel)
            weight = logit[:, :, rows, columns].flatten(2).softmax(2)
            out[:, :, i, j] = (x[:, :, rows, columns].flatten(2) * weight).sum(2)
    return out


# local importance pooling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2)])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 7, 10)])
def test_the_pool_is_its_formula(shape: tuple[int, ...], kernel: int, stride: int, padding: int) -> None:
    x, logit = maps(*shape), 5 * maps(*shape, seed=1)
    found = local_importance_pool(x, logit, kernel, stride, padding)
    assert torch.allclose(found.double(), by_hand(x, logit, kernel, stride, padding), atol=2e-6)


@pytest.mark.parametrize("side", [1, 2, 7, 8])
@pytest.mark.parametrize("level", [0.0, -1e4, 1e4])
def test_equal_logits_average_and_padding_does_not_count(side: int, level: float) -> None:
    x = maps(2, 3, side, side)
    average = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    assert torch.allclose(local_importance_pool(x, torch.full_like(x, level)), average, atol=1e-6)
    assert average.shape[2] == math.ceil(side / 2)


def test_known_limits_of_the_logit() -> None:
    x = maps(2, 3, 8, 8).relu() * 4
    hardest = local_importance_pool(x, 1000 * x)
    assert torch.allclose(hardest, F.max_pool2d(x, 3, 2, 1), atol=1e-2), "a steep logit of the value takes the maximum"
    soft = F.avg_pool2d(x * x.exp(), 3, 2, 1) / F.avg_pool2d(x.exp(), 3, 2, 1)
    assert torch.allclose(local_importance_pool(x, x), soft, atol=1e-5), "the value as its own logit gives SoftPool"
    shifted = local_importance_pool(x, x + 100)
    assert torch.allclose(shifted, local_importance_pool(x, x), atol=1e-4), "only differences of logits count"


def test_one_logit_may_serve_all_channels() -> None:
    x, logit = maps(2, 3, 6, 6), maps(2, 1, 6, 6, seed=1)
    assert torch.equal(local_importance_pool(x, logit), local_importance_pool(x, logit.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [40.0, 1e4])
def test_any_logits_give_finite_results_and_gradients(size: float, dtype: torch.dtype) -> None:
    x = maps(2, 3, 9, 9).to(dtype).requires_grad_()
    logit = (size * maps(2, 3, 9, 9, seed=1)).clamp(-1e4, 1e4).to(dtype).requires_grad_()
    out = local_importance_pool(x, logit)
    assert out.dtype == dtype
    assert torch.allclose(out.double(), by_hand(x, logit, 3, 2, 1), atol=2e-6 if dtype == torch.float32 else 2e-2)
    out.float().square().sum().backward()
    assert x.grad is not None and logit.grad is not None
    assert torch.isfinite(x.grad).all() and torch.isfinite(logit.grad).all()


def test_gradients_of_the_pool() -> None:
    x, logit = (maps(1, 2, 5, 5, seed=seed).double().requires_grad_() for seed in (0, 1))
    # float32 inside: compare with differences of the formula in float64.
    weight = maps(1, 2, 3, 3, seed=2).double()
    gradients = torch.autograd.grad((local_importance_pool(x, logit) * weight).sum(), (x, logit))
    wanted = torch.autograd.grad((windows_in_double(x, logit) * weight).sum(), (x, logit))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradients, wanted, strict=True))


def windows_in_double(x: Tensor, logit: Tensor) -> Tensor:
    weight = logit.exp()
    return F.avg_pool2d(x * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1)


def test_a_window_of_padding_only_is_refused() -> None:
    x = maps(1, 1, 4, 4)
    with pytest.raises(BadInput, match="padding 2 with a window of 3; it must be at most half"):
        local_importance_pool(x, x, 3, 2, 2)
    with pytest.raises(BadInput, match="padding 2 with a window of 3"):
        CoordinateImportancePool(4, padding=2)


# coordinate importance pooling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["coord_local", "coord", "dense"])
@pytest.mark.parametrize("side", [1, 2, 7, 8])
def test_the_untrained_pool_is_average_pooling(kind: str, side: int) -> None:
    x = maps(2, 8, side, side)
    assert torch.allclose(POOLS[kind]()(x), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), atol=1e-6)


@pytest.mark.parametrize("kind", ["coord_local", "coord", "dense"])
def test_the_first_gradient_is_of_the_size_of_the_second(kind: str) -> None:
    # Zero weights before a normalisation would multiply the first gradient by 316.
    torch.manual_seed(0)
    pool, x = POOLS[kind](), maps(4, 8, 8, 8)
    optimizer = torch.optim.SGD(pool.parameters(), lr=0.1)
    sizes = []
    for _ in range(3):
        optimizer.zero_grad()
        pool(x).square().mean().backward()
        sizes.append(sum(float(p.grad.square().sum()) for p in pool.parameters() if p.grad is not None) ** 0.5)
        optimizer.step()
    assert 0 < sizes[0] < 1
    assert sizes[0] < 5 * sizes[1]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pool.local.parameters()) if pool.local else True
    assert pool.attention.row.weight.grad.abs().sum() > 0, "from the second step on the gates learn too"


@pytest.mark.parametrize("kind", ["coord_local", "coord", "dense"])
def test_the_pool_weighs_with_its_importance(kind: str) -> None:
    pool, x = shaken(POOLS[kind]()).eval(), maps(3, 8, 9, 8)
    weight = pool.importance(x)
    assert weight.shape == x.shape and weight.dtype == torch.float32
    assert torch.allclose(weight.amax((2, 3)), torch.ones(3, 8)) and weight.min() >= math.exp(-12) * 0.999
    assert weight.std() > 0.01
    quotient = F.avg_pool2d(x * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1)
    assert torch.allclose(pool(x), quotient, atol=1e-6)
    logit = pool.logit(x)
    assert logit.min() >= 0 and logit.max() <= 12
    assert torch.allclose(pool(x), local_importance_pool(x, logit), atol=2e-6), "the fast form against the safe one"


def test_coordinate_importance_is_a_product_of_rows_and_columns() -> None:
    pool, x = shaken(CoordinateImportancePool(8, mode="coord", scale=7.0)).eval(), maps(2, 8, 6, 5)
    rows, columns = pool.attention.gates(x)
    assert rows.shape == (2, 8, 6, 1) and columns.shape == (2, 8, 1, 5)
    assert torch.allclose(pool.logit(x), 7 * rows * columns, atol=1e-5)


@pytest.mark.parametrize("pool", [CoordinateImportancePool(1), CoordinateImportancePool(1, mode="coord")])
def test_the_importance_moves_with_a_bright_spot(pool: CoordinateImportancePool) -> None:
    set_to_follow_brightness(pool)

    def brightest(top: int, left: int) -> tuple[int, int]:
        x = torch.zeros(1, 1, 12, 12)
        x[0, 0, top, left] = 5.0
        place = int(pool.importance(x).flatten().argmax())
        return place // 12, place % 12

    assert brightest(3, 4) == (3, 4)
    assert brightest(4, 4) == (4, 4), "one pixel down"
    assert brightest(9, 7) == (9, 7)


def set_to_follow_brightness(pool: CoordinateImportancePool) -> None:
    """Weights by hand: the gates of a row and a column, and the local logit, rise with brightness."""
    pool.eval()
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.zero_()
        pool.attention.shared.weight.fill_(1.0)
        pool.attention.norm.weight.fill_(1.0)
        pool.attention.row.weight.fill_(1.0)
        pool.attention.column.weight.fill_(1.0)
        if pool.local is not None:
            pool.local[0].weight[0, 0, 1, 1] = 1.0
            pool.local[1].weight.fill_(1.0)


@pytest.mark.parametrize("scale", [1.0, 12.0, 40.0])
def test_fast_form_is_safe_up_to_the_largest_scale(scale: float) -> None:
    pool = shaken(CoordinateImportancePool(4, scale=scale))
    with torch.no_grad():
        pool.local[1].weight.fill_(50.0)  # gates of exactly 0 and 1
    x = (100 * maps(2, 4, 9, 9)).requires_grad_()
    out = pool(x)
    assert torch.allclose(out, local_importance_pool(x, pool.logit(x)), rtol=1e-4, atol=1e-4)
    out.sum().backward()
    assert torch.isfinite(x.grad).all() and all(torch.isfinite(p.grad).all() for p in pool.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [({"mode": "coords"}, "knows coord and coord_local"), ({"scale": 0.0}, "above 0"), ({"scale": 41.0}, "at most 40")],
)
def test_the_pool_refuses_what_it_cannot_do(options: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        CoordinateImportancePool(4, **options)


# blur pooling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_blur_of_a_constant_and_size_of_the_result(size: int) -> None:
    pool = BlurPool(3, size)
    assert torch.allclose(pool.kernel.sum((2, 3)), torch.ones(3, 1))
    for side in (7, 8):
        assert torch.allclose(pool(torch.full((1, 3, side, side), 2.5)), torch.full((1, 3, 4, 4), 2.5))


def test_blur_by_hand() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 2, 2] = 16.0
    assert torch.equal(BlurPool(1)(x)[0, 0], torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1] = 16.0
    # The mirrored border repeats the pixel on both sides of row and column 0: (1 + 1) * (1 + 1).
    assert torch.equal(BlurPool(1)(x)[0, 0], torch.tensor([[4.0, 2.0], [2.0, 1.0]]))
    row = BlurPool(1, 4).kernel[0, 0].sum(0) * 8
    assert torch.allclose(row, torch.tensor([1.0, 3.0, 3.0, 1.0]))


def test_blur_answers_a_shift_less_than_subsampling_does() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(8).expand(1, 1, 16, 16)
    shifted = stripes.roll(1, 3)
    assert (stripes[..., ::2, ::2] - shifted[..., ::2, ::2]).abs().max() == 1
    assert torch.allclose(BlurPool(1)(stripes), BlurPool(1)(shifted))


def test_blur_stores_nothing() -> None:
    assert BlurPool(4).state_dict() == {} and count(BlurPool(4)) == 0


@pytest.mark.parametrize(("size", "side"), [(3, 1), (5, 2), (4, 2), (7, 3)])
def test_blur_refuses_a_map_not_larger_than_its_border(size: int, side: int) -> None:
    with pytest.raises(BadInput, match=f"a map of {side}x{side} pixels for a blur filter of size {size}"):
        BlurPool(2, size)(torch.zeros(1, 2, side, side))
    assert BlurPool(2, size)(torch.zeros(1, 2, side + 1, side + 1)).shape[2] == (side + 2) // 2


def test_blur_refuses_unknown_filters() -> None:
    with pytest.raises(BadInput, match="size 9; sizes from 2 to 7"):
        BlurPool(2, 9)


# attentions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("training", [True, False])
def test_an_attention_multiplies_by_its_mask(name: str, training: bool) -> None:
    block, x = shaken(ATTENTIONS[name]()).train(training), maps(3, 8, 6, 5)
    mask = block.mask(x)
    assert torch.allclose(block(x), x * mask, atol=1e-6)
    assert (mask >= 0).all() and (mask <= 1).all()
    assert torch.broadcast_shapes(mask.shape, x.shape) == x.shape


def test_coordinate_attention_is_its_gates() -> None:
    block, x = CoordinateAttention(8).eval(), maps(2, 8, 6, 5)
    rows, columns = block.gates(x)
    assert rows.shape == (2, 8, 6, 1) and columns.shape == (2, 8, 1, 5)
    assert torch.equal(block.mask(x), rows * columns)
    # In eval mode a row gate hangs on its row only, and a column gate on its column.
    changed = x.clone()
    changed[:, :, 2, 3] += 4.0
    new_rows, new_columns = block.gates(changed)
    assert [i for i in range(6) if not torch.allclose(rows[:, :, i], new_rows[:, :, i])] == [2]
    assert [i for i in range(5) if not torch.allclose(columns[..., i], new_columns[..., i])] == [3]
    # Turning the image exchanges the two, once both gates have the same weights.
    block.column.load_state_dict(block.row.state_dict())
    assert torch.allclose(block.mask(x.transpose(2, 3)), block.mask(x).transpose(2, 3), atol=1e-6)


def test_sge_by_hand() -> None:
    block = SpatialGroupEnhance(1)
    with torch.no_grad():
        block.gamma.fill_(2.0)
        block.beta.fill_(0.5)
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]])
    # Mean vector (2, 2); products 2 and 14; deviations -6 and 6, unbiased standard deviation sqrt(72).
    c = 6 / (math.sqrt(72) + 1e-5)
    wanted = torch.sigmoid(torch.tensor([-2 * c + 0.5, 2 * c + 0.5]))
    assert torch.allclose(block.mask(x)[0, :, 0], wanted.expand(2, 2), atol=1e-6)


def test_sge_starts_at_sigmoid_of_one_and_groups_are_apart() -> None:
    block, x = SpatialGroupEnhance(4), maps(2, 8, 6, 6)
    assert torch.allclose(block.mask(x), torch.tensor(0.7310586))
    shaken(block)
    mask = block.mask(x)
    assert torch.equal(mask[:, 0::2], mask[:, 1::2]), "one mask for the two channels of a group"
    changed = x.clone()
    changed[:, 2:4] = maps(2, 2, 6, 6, seed=9)
    differs = (block.mask(changed) != mask).flatten(2).any(2).any(0)
    assert differs.tolist() == [False, False, True, True, False, False, False, False]
    assert torch.allclose(block.mask(3 * x), mask, atol=1e-4), "brightness of the whole map has no effect"


def test_sge_refuses_groups_that_do_not_divide() -> None:
    with pytest.raises(BadInput, match="found 6 channels and 4 groups"):
        SpatialGroupEnhance(4)(maps(1, 6, 4, 4))
    with pytest.raises(BadInput, match="at least one"):
        SpatialGroupEnhance(0)


def test_simam_by_hand() -> None:
    x = torch.tensor([[[[1.0, 1.0], [1.0, 5.0]]]])
    # Mean 2; squares 1, 1, 1, 9; their sum over n = 3 is 4.
    wanted = torch.sigmoid(torch.tensor([[1.0, 1.0], [1.0, 9.0]]) / (4 * 4.0001) + 0.5)
    assert torch.allclose(SimAM().mask(x)[0, 0], wanted)
    assert count(SimAM()) == 0


@pytest.mark.parametrize("x", [maps(2, 3, 1, 1), torch.full((2, 3, 4, 4), 7.0)])
def test_simam_of_one_place_or_a_constant(x: Tensor) -> None:
    assert torch.allclose(SimAM()(x), x * torch.sigmoid(torch.tensor(0.5)))


def test_eca_by_hand() -> None:
    block = ECA(4)
    with torch.no_grad():
        block.conv.weight.copy_(torch.tensor([[[1.0, 2.0, 4.0]]]))
    x = torch.tensor([1.0, -1.0, 0.5, 2.0]).view(1, 4, 1, 1) + torch.tensor([[-3.0, 3.0]])
    means = torch.tensor([2 - 4, 1 - 2 + 2, -1 + 1 + 8, 0.5 + 4.0])
    assert torch.allclose(block.mask(x).flatten(), torch.sigmoid(means))
    assert [count(ECA(channels)) for channels in (64, 128, 256)] == [3, 3, 3]
    assert [count(ECA(channels, kernel_size=None)) for channels in (8, 64, 128, 256)] == [3, 3, 5, 5]
    with pytest.raises(BadInput, match="must be odd"):
        ECA(8, kernel_size=4)


def test_cbam_gates_channels_then_places() -> None:
    block, x = shaken(CBAM(8)).eval(), maps(2, 8, 6, 5)
    mask = block.mask(x)
    over_places = mask / mask[:, :1]
    assert torch.allclose(over_places, over_places[:, :, :1, :1].expand_as(mask), atol=1e-4), "a product of both gates"
    mixed = x.flatten(2)[:, :, torch.randperm(30)].view_as(x)
    flat = CBAM(8).eval()
    nn.init.zeros_(flat.place[0].weight)
    assert torch.allclose(flat.mask(x)[:, :, 0, 0], flat.mask(mixed)[:, :, 0, 0], atol=1e-6), "places do not count"


def test_sizes() -> None:
    assert count(CoordinateImportancePool(64, mode="coord")) == count(CoordinateAttention(64)) == 1_688
    assert count(CoordinateImportancePool(64)) == 2_392
    assert count(CoordinateImportancePool(64, dense=True)) == 38_680
    assert [count(CBAM(channels)) for channels in (64, 128, 256)] == [680, 2_284, 8_564]
    assert count(SpatialGroupEnhance(64)) == 128


# what holds for all of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("side", [1, 2, 7])
@pytest.mark.parametrize("level", ["random", "constant"])
def test_gradients_of_gradients_are_finite(name: str, side: int, level: str) -> None:
    if name == "blur" and side == 1:
        return  # refused in words, see above
    block = shaken(BLOCKS[name]())
    x = (maps(2, 8, side, side) if level == "random" else torch.full((2, 8, side, side), 0.3)).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in block.parameters())


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_and_at_large_values(name: str, dtype: torch.dtype) -> None:
    block = shaken(BLOCKS[name]()).eval()
    x = maps(2, 8, 8, 8)
    with torch.autocast("cpu", dtype):
        low = block(x)
        large = block(1e3 * x)
    assert torch.isfinite(low).all() and torch.isfinite(large).all()
    assert torch.allclose(low.float(), block(x), atol=0.15)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_dtype_of_the_map_is_kept(name: str) -> None:
    block = BLOCKS[name]().to(torch.bfloat16)
    assert block(maps(2, 8, 8, 8).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", BLOCKS)
def test_functional_call_takes_other_weights(name: str) -> None:
    block, x = BLOCKS[name]().eval(), maps(2, 8, 6, 6)
    other = shaken(BLOCKS[name](), seed=5).eval()
    before = block(x)
    assert torch.allclose(functional_call(block, other.state_dict(), (x,)), other(x), atol=1e-6)
    assert torch.equal(block(x), before)


@pytest.mark.parametrize("name", BLOCKS)
def test_samples_do_not_touch_each_other_in_eval_mode(name: str) -> None:
    block, x = shaken(BLOCKS[name]()).eval(), maps(4, 8, 6, 6)
    assert torch.allclose(block(x)[1:2], block(x[1:2]), atol=1e-6)
    last = x.to(memory_format=torch.channels_last)
    assert torch.allclose(block(last), block(x), atol=1e-5)
