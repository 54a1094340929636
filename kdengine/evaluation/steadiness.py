"""How much predictions change when an image moves by some pixels.

Zhang: Making Convolutional Networks Shift-Invariant Again. ICML 2019, section 4.2 (agreement under random shifts there;
here all four directions of every distance, and the change of the logits as well).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FARTHEST = 8
"""Pixels."""

DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
DIAGONAL = ((1, 1),)
"""Meets the strides of both axes with one pass over the images, for somebody who waits."""


def shifted(images: Tensor, right: int, down: int) -> Tensor:
    """The images (B, 3, H, W) moved by so many pixels, continued by their border pixels."""
    far = max(abs(right), abs(down))
    wide = F.pad(images, (far,) * 4, mode="replicate")
    height, width = images.shape[2:]
    return wide[:, :, far - down : far - down + height, far - right : far - right + width]


@torch.no_grad()
def steadiness(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    target: Tensor,
    directions: Sequence[tuple[int, int]] = DIRECTIONS,
) -> list[dict[str, float]]:
    """For each shift from 0 to 8 px (at most half of the side), over all images and directions.

    Args:
        logits_of: images (B, 3, H, W) -> logits (B, C), in eval mode.
        images: (B, 3, H, W).
        target: classes (B,).
        directions: (right, down) of one pixel each.

    Returns:
        Rows of ``shift``; ``logit_change``: size of the change of the logits, relative to their spread over the
        images; ``agreement``: share of the images whose class stays the same; ``accuracy``: share right after it.
    """
    still = logits_of(images)
    own_spread = (still - still.mean(0)).norm()
    rows = []
    for shift in range(min(FARTHEST, images.shape[3] // 2) + 1):
        # Nothing has moved at 0: the predictions are known.
        moved = [logits_of(shifted(images, shift * right, shift * down)) for right, down in directions if shift]
        moved = moved or [still]
        found = {
            "logit_change": [float((one - still).norm() / own_spread) for one in moved],
            "agreement": [float((one.argmax(1) == still.argmax(1)).float().mean()) for one in moved],
            "accuracy": [float((one.argmax(1) == target).float().mean()) for one in moved],
        }
        rows.append({"shift": float(shift)} | {name: sum(values) / len(values) for name, values in found.items()})
    return rows
