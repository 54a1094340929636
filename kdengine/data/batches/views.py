"""From packed images and drawn numbers to a normalised view: pure functions of tensors, a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.data.batches.draws import Draws, Warp


def make_view(
    store: Tensor,
    rows: Tensor,
    ids: Tensor,
    draws: Draws | None,
    scale: Tensor,
    shift: Tensor,
    size: int,
    cutout: int,
    memory_format: torch.memory_format,
) -> Tensor:
    """Gathers, crops or resamples, mirrors, normalises and blanks.

    Args:
        store: int32 (M, P, P), padded images, each pixel's R, G, B, 0 packed in one number.
        rows: int64 (B,), row of each sample in ``store``.
        ids: int64 (B,), sample numbers, by which the draws are looked up.
        draws: random numbers of all samples, on the same device; None = images as they are.
        scale, shift: float32 (1, 3, 1, 1), a value v of 0..255 becomes v * scale + shift.
        size: side of the view.
        cutout: side of the square that is blanked where the draws have one.
        memory_format: of the result.

    Returns:
        float32 (B, 3, size, size).
    """
    if draws is None:
        values = _colours(store.index_select(0, rows)).float()
    else:
        top, left, mirrored = draws.top[ids], draws.left[ids], draws.mirrored[ids]
        if draws.warp is None:
            values = _colours(cropped(store, rows, top, left, mirrored, size)).float()
        else:
            warp = Warp(*(numbers[ids] for numbers in draws.warp))
            values = warped(store, rows, top, left, mirrored, warp, size)
    image = torch.addcmul(shift, values, scale)
    if draws is not None and draws.hole is not None:
        image = image.masked_fill(square(draws.hole[:, ids], cutout, size), 0.0)
    return image.contiguous(memory_format=memory_format)


def cropped(store: Tensor, rows: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """Crops of side ``size`` at (top, left), mirrored left to right where said: packed int32 (B, size, size).

    One number a pixel makes the gather a plain look-up, twice as fast as one over three channels.
    """
    side = store.shape[1]
    along = torch.arange(size, device=store.device)
    across = torch.where(mirrored[:, None], along.flip(0), along)
    y = top[:, None] + along
    x = left[:, None] + across
    place = ((rows[:, None] * side + y)[:, :, None]) * side + x[:, None, :]
    return store.view(-1).index_select(0, place.view(-1)).view(-1, size, size)


def warped(store: Tensor, rows: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, warp: Warp, size: int) -> Tensor:
    """Windows resized to ``size``, turned counter-clockwise and mirrored, in one bilinear resampling.

    Equal to torchvision's ``resized_crop`` alone (without antialiasing, which does nothing to a window that grows) and
    to its ``rotate`` alone; of both together to one after the other, but for being blurred once instead of twice.

    Args:
        warp: height, width and angle of each sample of the batch, (B,) each.

    Returns:
        float32 (B, 3, size, size) of 0..255.
    """
    side = store.shape[1]
    colours = _colours(store.index_select(0, rows)).float()
    middle = (size - 1) / 2
    steps = torch.arange(size, device=store.device) - middle
    x = torch.where(mirrored[:, None], -steps, steps)[:, None, :]
    y = steps[None, :, None]
    cos, sin = warp.angle.cos()[:, None, None], warp.angle.sin()[:, None, None]
    # Where each pixel lies in the resized window before it is turned.
    across, down = cos * x - sin * y + middle, sin * x + cos * y + middle
    column = _within(across, left, warp.width, size)
    row = _within(down, top, warp.height, size)
    grid = (2 * torch.stack([column, row], dim=-1) + 1) / side - 1
    image = F.grid_sample(colours, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return image * (_seen(across, size) * _seen(down, size))[:, None]


def square(corner: Tensor, side: int, size: int) -> Tensor:
    """Where squares with that top and left, (2, B), cover an image: bool (B, 1, size, size)."""
    along = torch.arange(size, device=corner.device)
    inside = (along >= corner[..., None]) & (along < corner[..., None] + side)
    return inside[0][:, None, :, None] & inside[1][:, None, None, :]


def _colours(packed: Tensor) -> Tensor:
    """Packed int32 (B, H, W) -> uint8 (B, 3, H, W), without copying."""
    return packed.view(torch.uint8).view(*packed.shape, 4)[..., :3].permute(0, 3, 1, 2)


def _within(position: Tensor, start: Tensor, length: Tensor, size: int) -> Tensor:
    """Positions 0..size-1 in the resized window, as positions in the image; held at the edge of the window."""
    inside = (position + 0.5) * (length / size)[:, None, None] - 0.5
    return start[:, None, None] + torch.minimum(inside.clamp(min=0), (length - 1)[:, None, None])


def _seen(position: Tensor, size: int) -> Tensor:
    """Share of a pixel at that position that the image covers, 0..1: beyond its edge it fades to black in a pixel."""
    return torch.minimum(position + 1, size - position).clamp(0, 1)
