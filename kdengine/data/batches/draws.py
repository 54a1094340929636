"""The random numbers of an epoch, drawn on the CPU for all samples of a part at once.

Each purpose has a generator of its own, so that switching one change on or off leaves the others as they are.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from kdengine.data.batches.augmentation import Augmentation

# As torchvision's RandomResizedCrop.
ASPECT = (3 / 4, 4 / 3)
TRIES = 10


class Warp(NamedTuple):
    """Size of the window that becomes the image, int64 (N,) each, and the angle in radians, float32 (N,)."""

    height: Tensor
    width: Tensor
    angle: Tensor


class Draws(NamedTuple):
    """The random numbers of one view of one epoch, for all N samples.

    Attributes:
        top, left: int64 (N,), corner of the crop or of the window, in the padded image.
        mirrored: bool (N,).
        warp: what makes resampling necessary; None = a plain crop.
        hole: int64 (2, N), top and left of the square that is blanked, partly outside perhaps; None = no hole.
    """

    top: Tensor
    left: Tensor
    mirrored: Tensor
    warp: Warp | None
    hole: Tensor | None


def generator(seed: int, epoch: int, purpose: str) -> Generator:
    """A CPU generator of its own for each (seed, epoch, purpose); hashed, so that neighbouring seeds share nothing."""
    word = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(word[:8], "little") >> 1)


def draw(
    augmentation: Augmentation, count: int, size: int, seed: int, epoch: int, view: int, device: torch.device
) -> Draws:
    """What happens to each of ``count`` samples of side ``size`` in that view of that epoch, moved to the device."""
    shifts = generator(seed, epoch, f"view {view}")
    # Everything is drawn whether it is used or not, so that switching one change off leaves the others as they are.
    shift = torch.rand(2, count, generator=shifts)
    mirrored = torch.rand(count, generator=shifts) < 0.5
    if not augmentation.flip:
        mirrored = torch.zeros(count, dtype=torch.bool)
    room = 2 * augmentation.crop_padding
    top, left = (shift * (room + 1)).long().clamp_(max=room)
    height = width = torch.full((count,), size)
    if augmentation.resized_crop:
        windows = generator(seed, epoch, f"resized crop {view}")
        top, left, height, width = _windows(augmentation.resized_crop, count, size, windows)
    angle = torch.zeros(count)
    if augmentation.rotation:
        turns = torch.rand(count, generator=generator(seed, epoch, f"rotation {view}"))
        angle = (2 * turns - 1) * math.radians(augmentation.rotation)
    hole = None
    if augmentation.cutout:
        centre = torch.rand(2, count, generator=generator(seed, epoch, f"cutout {view}"))
        hole = (centre * size).long().clamp_(max=size - 1) - augmentation.cutout // 2
    return Draws(
        top.to(device),
        left.to(device),
        mirrored.to(device),
        Warp(height.to(device), width.to(device), angle.to(device)) if augmentation.resamples else None,
        hole.to(device) if hole is not None else None,
    )


def view_numbers(augmentation: Augmentation | None, draws: Draws | None, count: int) -> Tensor:
    """Numbers of the views that were drawn, 0..view_count-1: int64 (count,) on the CPU."""
    if augmentation is None or draws is None:
        return torch.zeros(count, dtype=torch.int64)
    places = 2 * augmentation.crop_padding + 1
    crop = draws.top.cpu() * places + draws.left.cpu()
    return crop * 2 + draws.mirrored.cpu() if augmentation.flip else crop


def plain_draws(augmentation: Augmentation | None, numbers: Tensor, device: torch.device) -> Draws | None:
    """The draws that `view_numbers` gave these numbers (n,), for n samples."""
    if augmentation is None:
        return None
    crop, mirrored = (numbers // 2, numbers % 2 == 1) if augmentation.flip else (numbers, torch.zeros_like(numbers) > 0)
    places = 2 * augmentation.crop_padding + 1
    return Draws((crop // places).to(device), (crop % places).to(device), mirrored.to(device), None, None)


def _windows(smallest: float, count: int, size: int, source: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width of windows, int64 (count,) each, distributed as in torchvision's RandomResizedCrop.

    Area uniform in smallest..1, logarithm of the aspect uniform; what does not fit is drawn anew up to ten times, then
    the whole image is taken.
    """
    share, aspect = torch.rand(2, TRIES, count, generator=source, dtype=torch.float64)
    area = size * size * (smallest + (1 - smallest) * share)
    low, high = map(math.log, ASPECT)
    aspect = (low + (high - low) * aspect).exp()
    heights, widths = (area / aspect).sqrt().round().long(), (area * aspect).sqrt().round().long()
    fits = (heights >= 1) & (heights <= size) & (widths >= 1) & (widths <= size)
    first = fits.int().argmax(dim=0, keepdim=True)  # of equals the first
    some = fits.any(dim=0)
    height = torch.where(some, heights.gather(0, first)[0], size)
    width = torch.where(some, widths.gather(0, first)[0], size)
    place = torch.rand(2, count, generator=source, dtype=torch.float64)
    top = (place[0] * (size - height + 1)).long()
    left = (place[1] * (size - width + 1)).long()
    return top, left, height, width
