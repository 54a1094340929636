"""Convolutions of 3x3 by minimal filtering: a quarter of the multiplications, for inference only.

F(4x4, 3x3) of Winograd's algorithm as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015),
section 4.3. A tile of 4x4 outputs needs 36 products instead of 144. All of it is matrix products and copies here, so
that PyTorch's own kernels do the work: the transforms of a tile, which the paper writes as sums, are products with
small matrices, and the 36 products over the channels are computed in one of two ways (`Product`).

On a CPU and in float32 only: cuDNN chooses minimal filtering by itself, and in bfloat16 the transforms would cost most
of the precision. Rounding grows to some 1e-5 of the largest output. Whether it is faster than multiplying directly,
and with which product and how many tiles at once, depends on the processor: see `kdengine.tuning`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Product = Literal["batched", "grouped"]
"""How the 36 products over the channels are computed.

batched: one batched matrix product, by the library for linear algebra that PyTorch was built with.
grouped: one 1x1 convolution of 36 groups with weights packed beforehand, by oneDNN. Where that library is MKL, which
takes a slow way on processors of other makers, this is more than twice as fast there.
"""

Compute = Callable[[Tensor], Tensor]

TILE, PATCH = 4, 6
"""Sides of a tile of outputs and of the inputs that it needs."""
MAX_WASTE = 1.4
"""How many times the outputs that are wanted may be computed, where tiles reach beyond a map (14 px: 1.3)."""
MIN_TILES = 16
"""Below, reading the transformed weights, four times as many, takes longer than the products."""

_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
          [0, 4, 0, -5, 0, 1]]  # fmt: skip
_WEIGHT = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
           [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _numbers(matrix: list[list[int]]) -> Tensor:
    return torch.tensor(matrix, dtype=torch.float32)


# Of one side of a tile, and of both sides at once.
_INTO, _OUT_OF = _numbers(_INPUT), _numbers(_OUTPUT)
_INTO_BOTH, _OUT_OF_BOTH = torch.kron(_INTO, _INTO), torch.kron(_OUT_OF, _OUT_OF)


class Tiles(NamedTuple):
    """How tiles are computed: the product, and about how many tiles at once.

    Enough at once for the product to be fast, few enough for its operands to stay in the cache.
    """

    product: Product
    at_once: int


class WinogradConv2d(nn.Module):
    """A frozen 3x3 convolution of stride 1 and padding 1, computed tile by tile where there are enough of them.

    Args:
        plain: the convolution; kept for maps and batches that are too small, and for gradients.
        tiles: how the tiles are computed; `products` says which products there are here.
    """

    bias: Tensor

    def __init__(self, plain: nn.Conv2d, tiles: Tiles) -> None:
        super().__init__()
        self.plain = plain
        self.tiles = tiles
        weight = transformed(plain.weight, tiles.product)
        self.stored_bytes = weight.nbytes
        # No buffer: what oneDNN has packed has no storage that could be moved or copied.
        self.weight = weight if tiles.product == "batched" else _packed(weight, tiles.at_once)
        bias = torch.zeros(plain.out_channels) if plain.bias is None else plain.bias.detach()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H, W) of the same kind, channels_last where computed by tiles, which is in float32."""
        if x.requires_grad or not pays(x.shape):
            found: Tensor = self.plain(x)
            return found
        compute = _whole if torch.compiler.is_compiling() else by_tiles
        return compute(x.float(), self.weight, self.bias, *self.tiles).to(x.dtype)


def fits(convolution: nn.Conv2d) -> bool:
    """Whether a convolution can be computed by tiles at all."""
    shape = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and convolution.padding_mode == "zeros"
    return plain and convolution.groups == 1 and convolution.weight.device.type == "cpu"


def pays(shape: torch.Size) -> bool:
    """Whether images of shape (B, C, H, W) are many and large enough for tiles."""
    count, _, height, width = shape
    tiles = -(-height // TILE) * -(-width // TILE)
    return tiles * TILE**2 <= MAX_WASTE * height * width and count * tiles >= MIN_TILES


def products() -> tuple[Product, ...]:
    """The products that this build of PyTorch has."""
    # What torch.compile itself computes frozen convolutions with.
    grouped = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and torch.backends.mkldnn.is_available()
    return ("batched", "grouped") if grouped else ("batched",)


def transformed(weight: Tensor, product: Product) -> Tensor:
    """Weights (K, C, 3, 3) as a product wants them: (36, C, K) for the batched, (36, K, C) for the grouped one."""
    one = torch.tensor(_WEIGHT, dtype=torch.float64)
    order = (2, 3, 1, 0) if product == "batched" else (2, 3, 0, 1)
    places = weight.detach().double().cpu().permute(order)
    return (torch.kron(one, one) @ places.reshape(9, -1)).float().view(PATCH**2, *places.shape[2:])


def _packed(weight: Tensor, tiles: int) -> Tensor:
    """Weights (36, K, C) in oneDNN's own layout for so many tiles."""
    groups, kernels, channels = weight.shape
    rows, sizes = weight.view(groups * kernels, channels, 1, 1), [1, groups * channels, tiles, 1]
    found: Tensor = torch.ops.mkldnn._reorder_convolution_weight(rows, [0, 0], [1, 1], [1, 1], groups, sizes)
    return found


@torch.no_grad()
def by_tiles(x: Tensor, weight: Tensor, bias: Tensor, product: str, at_once: int) -> Tensor:
    """3x3 convolution, stride 1, padding 1.

    Args:
        x: float32 (B, C, H, W).
        weight: as the product wants it.
        bias: (K,).
        product: of `Product`.
        at_once: about how many tiles.

    Returns:
        (B, K, H, W), channels_last.
    """
    count, _, height, width = x.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    kernels = len(bias)
    images = min(count, max(1, at_once // (rows * columns)))
    compute = (_batched if product == "batched" else _grouped)(x, weight, images, rows, columns, kernels)
    result = x.new_empty(count, rows, TILE, columns, TILE, kernels)
    in_last = x.permute(0, 2, 3, 1)
    for start in range(0, count, images):
        part = in_last[start : start + images]
        torch.add(compute(part)[: len(part)], bias, out=result[start : start + images])
    whole = result.view(count, TILE * rows, TILE * columns, kernels)[:, :height, :width]
    return whole.contiguous().permute(0, 3, 1, 2)


# Both make their buffers once for all parts of the batch: fresh ones cost more than the products.


def _batched(x: Tensor, weight: Tensor, images: int, rows: int, columns: int, kernels: int) -> Compute:
    """A function from at most so many images (n, H, W, C) to tiles (n, rows, 4, columns, 4, K)."""
    channels, tiles = x.shape[1], images * rows * columns
    padded, patches = _patches(x, images, rows, columns)
    patches = patches.permute(3, 4, 0, 1, 2, 5)
    gathered = x.new_empty(patches.shape)
    inputs, products = x.new_empty(PATCH**2, tiles, channels), x.new_empty(PATCH**2, tiles, kernels)
    outputs = x.new_empty(TILE, TILE, images, rows, columns, kernels)

    def compute(part: Tensor) -> Tensor:
        padded[: len(part)].copy_(part)
        gathered.copy_(patches)
        torch.mm(_INTO_BOTH, gathered.view(PATCH**2, -1), out=inputs.view(PATCH**2, -1))
        torch.bmm(inputs, weight, out=products)
        torch.mm(_OUT_OF_BOTH, products.view(PATCH**2, -1), out=outputs.view(TILE**2, -1))
        return outputs.permute(2, 3, 0, 4, 1, 5)

    return compute


def _grouped(x: Tensor, weight: Tensor, images: int, rows: int, columns: int, kernels: int) -> Compute:
    """The same; here the 36 numbers of a tile lie side by side, as the groups of one image with a row a tile.

    Tiles are transformed side after side, a third of the multiplications.
    """
    channels, tiles = x.shape[1], images * rows * columns
    padded, patches = _patches(x, images, rows, columns)
    gathered = x.new_empty(patches.shape)
    half, inputs = x.new_empty(tiles, PATCH, PATCH * channels), x.new_empty(tiles * PATCH, PATCH, channels)
    narrow = x.new_empty(tiles, TILE, PATCH * kernels)
    outputs = x.new_empty(images, rows, columns, TILE, TILE, kernels)
    into, out_of = (side.expand(tiles * PATCH, -1, -1) for side in (_INTO, _OUT_OF))
    as_image = inputs.view(1, tiles, 1, -1).permute(0, 3, 1, 2)
    where = ([0, 0], [1, 1], [1, 1], PATCH**2)

    def compute(part: Tensor) -> Tensor:
        padded[: len(part)].copy_(part)
        gathered.copy_(patches)
        torch.bmm(into[:tiles], gathered.view_as(half), out=half)
        torch.bmm(into, half.view_as(inputs), out=inputs)
        products = torch.ops.mkldnn._convolution_pointwise(as_image, weight, None, *where, "none", [], "")
        products = products.permute(0, 2, 3, 1).reshape(tiles, PATCH, PATCH * kernels)
        torch.bmm(out_of[:tiles], products, out=narrow)
        wide = narrow.view(tiles * TILE, PATCH, kernels)
        torch.bmm(out_of[: tiles * TILE], wide, out=outputs.view(tiles * TILE, TILE, kernels))
        return outputs.permute(0, 1, 3, 2, 4, 5)

    return compute


def _patches(x: Tensor, images: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Where images (n, H, W, C) are to be written, and what each tile sees of them: (n, rows, columns, 6, 6, C)."""
    _, channels, height, width = x.shape
    padded = x.new_zeros(images, TILE * rows + 2, TILE * columns + 2, channels)
    step, down, right, _ = padded.stride()
    seen = padded.as_strided(
        (images, rows, columns, PATCH, PATCH, channels), (step, TILE * down, TILE * right, down, right, 1)
    )
    return padded[:, 1 : height + 1, 1 : width + 1], seen


@torch.library.custom_op("kdengine::winograd", mutates_args=())
def _whole(x: Tensor, weight: Tensor, bias: Tensor, product: str, at_once: int) -> Tensor:
    """`by_tiles` as one operation, so that torch.compile leaves the loop as it is."""
    return by_tiles(x, weight, bias, product, at_once)


@_whole.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, product: str, at_once: int) -> Tensor:
    count, _, height, width = x.shape
    return x.new_empty(count, height, width, len(bias)).permute(0, 3, 1, 2)
