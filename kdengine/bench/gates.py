"""Before any timing counts: all arms must do the same. Same logits, same losses over twenty steps, same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from kdengine.bench import pair as numbers
from kdengine.bench.engine import Switches, endless, frozen, loader, trainer
from kdengine.bench.pair import Pair
from kdengine.bench.reference import ReferenceLoop
from kdengine.data.batches.draws import plain_draws

STEPS = 20
SMALL_BATCH = 16
RATE = 1e-4
"""Small: at the usual rate a net that begins on random labels doubles every rounding error within a few steps."""
LOGITS_FP32 = 1e-5
LOSS_FP32 = 5e-5
"""Relative difference of the losses within twenty steps: rounding grows with every step through the network."""
REDUCED = 1e-2


class Gate(NamedTuple):
    """One comparison: what was compared, how far apart it was, how far it may be."""

    what: str
    apart: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it was near enough."""
        return self.apart <= self.limit

    def __str__(self) -> str:
        return f"{'equal' if self.passed else 'DIFFERENT'}: {self.what}, {self.apart:.1e} of at most {self.limit:.0e}"


def gates(pair: Pair, switches: dict[str, Switches]) -> Iterator[Gate]:
    """Every gate for these arms of the engine, against the reference loop.

    Args:
        pair: nets and images; tried in small batches.
        switches: by name of the arm.
    """
    pair = replace(pair, batch_size=min(pair.batch_size, SMALL_BATCH))
    yield images_equal_pil(pair)
    for name, chosen in switches.items():
        yield same_logits(pair, name, chosen)
        yield same_losses(pair, name, chosen)


def images_equal_pil(pair: Pair) -> Gate:
    """Crop, mirror and normalisation against PIL at the same places: largest difference of a pixel."""
    batches = loader(pair, Switches())
    batch = next(batches.epoch(0))
    assert batch.drawn is not None
    draws = plain_draws(batches.augmentation, batch.drawn.slots[0], torch.device("cpu"))
    assert draws is not None
    farthest = 0.0
    for place, (view, row) in enumerate(zip(batch.image.cpu(), batch.drawn.rows.tolist(), strict=True)):
        image = ImageOps.expand(Image.fromarray(pair.part.take([row])[0]), numbers.PADDING)
        left, top, side = int(draws.left[place]), int(draws.top[place]), pair.image_size
        image = image.crop((left, top, left + side, top + side))
        if bool(draws.mirrored[place]):
            image = ImageOps.mirror(image)
        pixels = np.asarray(image, np.float32) / 255
        expected = (pixels - np.array(numbers.MEAN, np.float32)) / np.array(numbers.STD, np.float32)
        farthest = max(farthest, float(np.abs(view.permute(1, 2, 0).numpy() - expected).max()))
    return Gate("images against PIL", farthest, 1e-5)


def same_logits(pair: Pair, name: str, switches: Switches) -> Gate:
    """The teacher's logits against the plain network's, relative to the largest."""
    image = next(loader(pair, switches).epoch(0)).image
    teacher = frozen(pair, switches)
    own = teacher(image).logits.float()
    with torch.no_grad():
        plain = pair.new_teacher().to(pair.device)(image.contiguous()).logits
    apart = float((own - plain).abs().max() / plain.abs().max())
    return Gate(f"{name}: teacher's logits", apart, REDUCED if teacher.reduced is not None else LOGITS_FP32)


def same_losses(pair: Pair, name: str, switches: Switches) -> Gate:
    """Losses of the first steps on the same batches against the reference loop's, largest relative difference."""
    batches = loader(pair, switches)
    loop, plain = trainer(pair, switches, batches, rate=RATE), ReferenceLoop(pair, RATE)
    loop.module.train()
    stream = endless(batches)
    apart = 0.0
    for _ in range(STEPS):
        batch = next(stream)
        expected = plain.step(batch.image.contiguous(), batch.target)
        loop.train_step(batch)
        own = sum(weighted for _, weighted in loop.sums.window()[0].values())
        apart = max(apart, abs(own - expected) / abs(expected))
    reduced = switches.bf16 or switches.bf16_teacher
    return Gate(f"{name}: losses of {STEPS} steps", apart, REDUCED if reduced else LOSS_FP32)
