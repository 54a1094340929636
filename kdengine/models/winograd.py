"""Convolutions of 3x3 by minimal filtering: a quarter of the multiplications, for nets that only answer.

F(4x4, 3x3) of Winograd's algorithm as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015),
section 4.3. A tile of 4x4 outputs needs 36 products instead of 144. All of it is matrix products and copies here, so
that PyTorch's own kernels do the work: as in the paper the 36 products are one batched product over the channels; the
transforms of a tile are products with matrices of 36x36 and 16x36, which the paper writes as sums.

On a CPU in float32 only: PyTorch's convolutions there multiply directly, cuDNN chooses minimal filtering by itself, and
in bfloat16 the transforms would cost most of the precision. Rounding grows to some 5e-6 of the largest output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdengine.models.backbone import Backbone

TILE, PATCH = 4, 6
"""Sides of a tile of outputs and of the inputs that it needs."""
FEWEST_CHANNELS = 128
"""Below, transforms take what the products save: 64 channels are as fast as directly, 128 one and a half times."""
MOST_WASTE = 1.4
"""How many times the outputs that are wanted may be computed, where tiles reach beyond a map (14 px: 1.3)."""
FEWEST_TILES = 16
"""Below, reading the transformed weights, four times as many, takes longer than the products."""
TILES_AT_ONCE = 128
"""Enough for the batched product to be fast, few enough for its operands to stay in the cache."""

_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
          [0, 4, 0, -5, 0, 1]]  # fmt: skip
_WEIGHT = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
           [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _matrix(one: list[list[int]]) -> Tensor:
    """The transform of both sides of a tile as one matrix."""
    square = torch.tensor(one, dtype=torch.float32)
    return torch.kron(square, square)


_INTO, _OUT_OF = _matrix(_INPUT), _matrix(_OUTPUT)


class WinogradConv2d(nn.Module):
    """A frozen 3x3 convolution of stride 1 and padding 1, computed tile by tile where that is faster.

    Args:
        plain: the convolution; kept for maps and batches that are too small, and for gradients.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.plain = plain
        self.register_buffer("weight", transformed(plain.weight), persistent=False)
        bias = torch.zeros(plain.out_channels) if plain.bias is None else plain.bias.detach()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, C, H, W) -> (B, K, H, W), in channels_last layout where it was computed by tiles."""
        if x.requires_grad or not pays(x.shape):
            return self.plain(x)
        compute = _whole if torch.compiler.is_compiling() else by_tiles
        return compute(x, self.weight, self.bias)


def with_winograd(backbone: Backbone) -> Backbone:
    """The same network, its wide 3x3 convolutions replaced by `WinogradConv2d`; for float32 on a CPU, frozen."""
    for name, module in list(backbone.named_modules()):
        if type(module) is nn.Conv2d and _fits(module):
            backbone.set_submodule(name, WinogradConv2d(module))
    return backbone


def _fits(convolution: nn.Conv2d) -> bool:
    shape = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and convolution.padding_mode == "zeros"
    wide = min(convolution.in_channels, convolution.out_channels) >= FEWEST_CHANNELS
    return plain and wide and convolution.groups == 1


def pays(shape: torch.Size) -> bool:
    """Whether pictures of shape (B, C, H, W) are many and large enough for tiles."""
    count, _, height, width = shape
    tiles = -(-height // TILE) * -(-width // TILE)
    return tiles * TILE**2 <= MOST_WASTE * height * width and count * tiles >= FEWEST_TILES


def transformed(weight: Tensor) -> Tensor:
    """Weights (K, C, 3, 3) as the batched product wants them, (36, C, K)."""
    one = torch.tensor(_WEIGHT, dtype=torch.float64)
    product = torch.einsum("ia,jb,kcab->ijck", one, one, weight.detach().double().cpu())
    return product.reshape(PATCH**2, weight.shape[1], weight.shape[0]).float().contiguous()


@torch.no_grad()
def by_tiles(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution, stride 1, padding 1.

    Args:
        x: float32 (B, C, H, W).
        weight: from `transformed`, (36, C, K).
        bias: (K,).

    Returns:
        (B, K, H, W), channels_last.
    """
    count, channels, height, width = x.shape
    kernels = weight.shape[2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    at_once = min(count, max(1, TILES_AT_ONCE // (rows * columns)))
    tiles = at_once * rows * columns
    padded = x.new_zeros(at_once, TILE * rows + 2, TILE * columns + 2, channels)
    inner = padded[:, 1 : height + 1, 1 : width + 1]
    step, down, right, _ = padded.stride()
    patches = padded.as_strided(
        (PATCH, PATCH, at_once, rows, columns, channels), (down, right, step, TILE * down, TILE * right, 1)
    )
    gathered = x.new_empty(patches.shape)
    inputs, products = x.new_empty(PATCH**2, tiles, channels), x.new_empty(PATCH**2, tiles, kernels)
    outputs = x.new_empty(TILE, TILE, at_once, rows, columns, kernels)
    result = x.new_empty(count, rows, TILE, columns, TILE, kernels)
    pictures = x.permute(0, 2, 3, 1)
    # The same buffers for every part of the batch: fresh ones cost more than the products.
    for start in range(0, count, at_once):
        part = pictures[start : start + at_once]
        inner[: len(part)].copy_(part)
        gathered.copy_(patches)
        torch.mm(_INTO, gathered.view(PATCH**2, -1), out=inputs.view(PATCH**2, -1))
        torch.bmm(inputs, weight, out=products)
        torch.mm(_OUT_OF, products.view(PATCH**2, -1), out=outputs.view(TILE**2, -1))
        in_place = outputs.permute(2, 3, 0, 4, 1, 5)[: len(part)]
        torch.add(in_place, bias, out=result[start : start + at_once])
    whole = result.view(count, TILE * rows, TILE * columns, kernels)[:, :height, :width]
    return whole.contiguous().permute(0, 3, 1, 2)


@torch.library.custom_op("kdengine::winograd", mutates_args=())
def _whole(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`by_tiles` as one operation, so that torch.compile leaves the loop as it is."""
    return by_tiles(x, weight, bias)


@_whole.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    count, _, height, width = x.shape
    return x.new_empty(count, height, width, weight.shape[2]).permute(0, 3, 1, 2)
