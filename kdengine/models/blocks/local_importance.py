"""Pooling that weighs each pixel of a window by its learned importance, and the coordinate form of it.

Local importance pooling (LIP): Gao et al., ICCV 2019; form after the public repository sebgao/LIP. Coordinate
importance pooling (CIP): Liu et al., Acta Electronica Sinica 2025, 53(3), DOI 10.12263/DZXB.20240754, of which only the
abstract is public: position information goes into the importance. What is here is LIP whose importance comes from
coordinate attention; form and numbers are our choice, not the paper's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.errors import BadInput
from kdengine.models.blocks.coordinate_attention import CoordinateAttention

LARGEST_SCALE = 40.0
"""Up to this bound of the logits the smallest weight, exp(-40), is far from float32's end, and so is its reciprocal."""


def local_importance_pool(x: Tensor, logit: Tensor, kernel_size: int = 3, stride: int = 2, padding: int = 1) -> Tensor:
    """Weighted mean over each window, the weights being the softmax of the logits in that window.

    ``y(p) = sum_q x(q) exp(G(q)) / sum_q exp(G(q))`` over the pixels q of the window at p; padding has no weight. Equal
    logits give ``avg_pool2d(count_include_pad=False)``. Each window subtracts its own largest logit, in float32: any
    finite logits, of +-1e4 too, give finite results and gradients, which the usual quotient of two average poolings of
    exp(G) does not.

    Args:
        x: (B, C, H, W).
        logit: G, same shape, or one channel for all: (B, 1, H, W).
        kernel_size: side of the window in pixels.
        stride: step of the window.
        padding: at most half of ``kernel_size``, so that every window holds a pixel.

    Returns:
        (B, C, H', W') in the dtype of ``x``; H' = floor((H + 2 padding - kernel_size) / stride) + 1, so 7 -> 4.

    Raises:
        BadInput: padding above half of the window.
    """
    _check_padding(kernel_size, padding)
    logit = logit.float()
    # Shifting a window's logits leaves its softmax alone, so that the maximum needs no gradient.
    largest = F.max_pool2d(logit.detach(), kernel_size, stride, padding)
    pixels = _offsets(x.float(), kernel_size, stride, padding, 0.0)
    logits = _offsets(logit, kernel_size, stride, padding, -torch.inf)
    weights = [torch.exp(one - largest) for one in logits]
    weighted = [pixel * weight for pixel, weight in zip(pixels, weights, strict=True)]
    return (sum(weighted[1:], weighted[0]) / sum(weights[1:], weights[0])).to(x.dtype)


class CoordinateImportancePool(nn.Module):
    """Down-sampling that keeps what matters, and where it is: local importance pooling with coordinate attention.

    The importance logit is ``G(x) = scale * gate(x)``, with the gate in [0, 1]:

    - ``coord_local`` (default): ``sigmoid(norm(conv3x3(x * a_h * a_w)))`` with the row and column gates a_h, a_w of
      coordinate attention. It can mark single pixels as well as rows and columns.
    - ``coord``: ``a_h * a_w``, a product of a row and a column profile.

    ``norm`` is an instance normalisation, as in LIP. Its gain starts at zero (LIP: the convolution's weights; followed
    by a normalisation that multiplies the first gradient by 1/sqrt(eps), about 316), in ``coord`` the weights of the
    two gates do: the untrained pool is exactly ``avg_pool2d(count_include_pad=False)``. Source of form, scale and
    start: our choice, after sebgao/LIP (scale 12) and houqb/CoordAttention.

    Args:
        channels: C of the maps.
        mode: see above.
        scale: lambda, the largest logit, in (0, 40]; the most important pixel weighs at most exp(scale) times the
            least important one.
        dense: whether the 3x3 convolution of ``coord_local`` is dense instead of depthwise.
        kernel_size: side of the window in pixels.
        stride: step of the window.
        padding: at most half of ``kernel_size``.

    Raises:
        BadInput: a mode, scale or padding outside of what is named above.
    """

    def __init__(
        self,
        channels: int,
        mode: Literal["coord", "coord_local"] = "coord_local",
        scale: float = 12.0,
        dense: bool = False,
        kernel_size: int = 3,
        stride: int = 2,
        padding: int = 1,
    ) -> None:
        super().__init__()
        _check_padding(kernel_size, padding)
        if mode not in ("coord", "coord_local"):
            raise BadInput(f"found the mode {mode!r}; coordinate importance pooling knows coord and coord_local")
        if not 0 < scale <= LARGEST_SCALE:
            raise BadInput(f"found the scale {scale:g}; it must be above 0 and at most {LARGEST_SCALE:g}")
        self.scale = scale
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.attention = CoordinateAttention(channels)
        self.local: nn.Module | None = None
        if mode == "coord_local":
            groups = 1 if dense else channels
            conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            self.local = nn.Sequential(conv, _InstanceNorm(channels))
        else:
            self.attention.start_equal()

    def logit(self, x: Tensor) -> Tensor:
        """G(x), float32, the shape of ``x``, in [0, scale]."""
        rows, columns = self.attention.gates(x)
        if self.local is None:
            return self.scale * (rows.float() * columns.float())
        return self.scale * torch.sigmoid(self.local(x * (rows * columns)).float())

    def importance(self, x: Tensor) -> Tensor:
        """The weights of the pooling: ``exp(G(x) - max G(x))``, the maximum taken over each sample's channel.

        Float32, the shape of ``x``, in [exp(-scale), 1]; 1 is the most important pixel of its map. The pool is
        ``avg_pool2d(x * importance) / avg_pool2d(importance)``: a window divides by its own sum, so that only ratios
        inside of a window count and the subtracted maximum, there against overflow, has no effect.
        """
        logit = self.logit(x)
        return torch.exp(logit - logit.detach().amax((2, 3), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W'), as `local_importance_pool` of ``logit(x)``."""
        # The gate bounds the logits, so that the quotient of two average poolings is safe here, and it is three
        # times as fast as the form for any logits (64 channels at 32x32, one core).
        weight = self.importance(x)
        window = (self.kernel_size, self.stride, self.padding)
        return (F.avg_pool2d(x.float() * weight, *window) / F.avg_pool2d(weight, *window)).to(x.dtype)


class _InstanceNorm(nn.Module):
    """Instance normalisation with gain and shift that start at zero; a 1x1 map gives the shift, torch's own refuses it.

    (B, C, H, W) -> same, float32.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
        gain = self.weight.view(-1, 1, 1) * torch.rsqrt(variance + self.eps)
        return (x.float() - mean) * gain + self.bias.view(-1, 1, 1)


def _offsets(maps: Tensor, kernel_size: int, stride: int, padding: int, fill: float) -> list[Tensor]:
    """For each place in the window, what all windows hold there: kernel_size² views, each (B, C, H', W')."""
    padded = F.pad(maps, (padding,) * 4, value=fill)
    rows = range(0, padded.shape[2] - kernel_size + 1, stride)
    columns = range(0, padded.shape[3] - kernel_size + 1, stride)
    return [
        padded[:, :, top : top + rows[-1] + 1 : stride, left : left + columns[-1] + 1 : stride]
        for top in range(kernel_size)
        for left in range(kernel_size)
    ]


def _check_padding(kernel_size: int, padding: int) -> None:
    if not 0 <= 2 * padding <= kernel_size:
        raise BadInput(
            f"found padding {padding} with a window of {kernel_size}; it must be at most half of the window, "
            "or windows at the border hold no pixel"
        )
