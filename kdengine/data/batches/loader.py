"""Batches for training and evaluation: images gathered, augmented and normalised on the device, all at once.

Nothing here keeps a state between epochs. What happens to an image is a function of (seed, epoch, sample number, view
number), drawn on the CPU for all samples of the part at once; so it does not depend on batch size, order, device or on
where an epoch was resumed, and a teacher's logits for a view can be read from the cache.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdengine.data.batches.augmentation import Augmentation
from kdengine.data.batches.draws import Draws, draw, generator, plain_draws, view_numbers
from kdengine.data.batches.samplers import epoch_order, overlapping_steps
from kdengine.data.batches.views import make_view
from kdengine.data.batches.workers import default_workers, packed, read_batches
from kdengine.data.bundle import Part, Rgb
from kdengine.errors import BadInput, Problem

__all__ = ["Augmentation", "Batch", "BatchLoader", "Drawn"]

log = logging.getLogger(__name__)

RESIDENT_BYTES = 2 << 30


class Drawn(NamedTuple):
    """Which views of which images a batch holds, on the CPU: equal numbers stand for equal images.

    Attributes:
        rows: int64 (B,), sample numbers.
        slots: for each view int64 (B,), numbers of the views, 0..V-1.
        views: the images as they were drawn; a method may have put others into the batch.
    """

    rows: Tensor
    slots: tuple[Tensor, ...]
    views: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch on the device.

    Args:
        views: one tensor per view, float32 (B, 3, H, W), normalised.
        target: int64 (B,), class of each; of blended images shares of the classes, float32 (B, C) of 0..1.
        index: int64 (B,), number of each sample within the part, 0..N-1.
        drawn: which views these are; None where the images are none of a part.
    """

    views: tuple[Tensor, ...]
    target: Tensor
    index: Tensor
    drawn: Drawn | None = None

    @property
    def image(self) -> Tensor:
        """The first view, float32 (B, 3, H, W)."""
        return self.views[0]


class _Prepared(NamedTuple):
    """What decides an epoch: order of the samples on the host and on the device, draws and numbers of each view."""

    order: Tensor
    ids: Tensor
    draws: list[Draws | None]
    numbers: list[Tensor]


class BatchLoader:
    """Gives the batches of an epoch.

    Args:
        part: the images, uint8 RGB (N, H, W, 3).
        batch_size: B, at least 1.
        mean, std: per channel, of values scaled to 0..1.
        device: where the batches are made and stay.
        seed: decides order and augmentation, together with the epoch.
        augmentation: None = images as they are.
        shuffle: a fresh permutation each epoch; False = order of the part.
        drop_last: leave out the last batch when it is smaller than B.
        views: how many independently augmented views of each image.
        channels_last: memory format of the views.
        sampler: "uniform"; "class-balanced" (classes in equal numbers); "same-class-pairs" (second half of a batch: for
            each place another image of the same class); "overlapping" (first half of a batch = second half of the one
            before; an epoch then has about twice as many steps). All but "uniform" need ``shuffle`` and ``drop_last``.
        resident_bytes: the part is kept on the device when it needs no more than this; else it is read from the store
            batch by batch.
        workers: processes that read such a part ahead; 0 = this one reads when a batch is asked for; None = none on a
            CPU, up to four on a GPU.
        compile: build one kernel of the whole gather with torch.compile, some seconds for the first batch; within 1e-6
            of the same numbers. Views that are resampled are left as they are: theirs takes half a minute to build and
            was no faster.

    Raises BadInput for a batch larger than the part with ``drop_last``, an unknown sampler, or values out of range.
    """

    def __init__(
        self,
        part: Part,
        *,
        batch_size: int,
        mean: Rgb,
        std: Rgb,
        device: torch.device | str,
        seed: int,
        augmentation: Augmentation | None,
        shuffle: bool,
        drop_last: bool,
        views: int = 1,
        channels_last: bool = True,
        sampler: str = "uniform",
        resident_bytes: int = RESIDENT_BYTES,
        workers: int | None = None,
        compile: bool = False,
    ) -> None:
        self.part = part
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.views = views
        self.device = torch.device(device)
        self.workers = default_workers(self.device) if workers is None else workers
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._size = part.images.shape[1]
        self._padding = augmentation.crop_padding if augmentation else 0
        labels = torch.from_numpy(part.labels.copy())
        _check(len(part), batch_size, views, shuffle, drop_last, sampler, self.workers)
        _check_cutout(augmentation, self._size)
        self.steps_per_epoch = _steps(len(part), batch_size, drop_last, sampler)
        self._order = epoch_order(sampler, labels, batch_size, self.steps_per_epoch, shuffle)
        self._order(generator(seed, 0, "order"))  # what a sampler cannot do with this part is said now, not mid-run
        self._labels = labels.to(self.device)
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self._scale = scale.float().view(1, 3, 1, 1).to(self.device)
        self._shift = shift.float().view(1, 3, 1, 1).to(self.device)
        side = self._size + 2 * self._padding
        self.resident = len(part) * side * side * 4 <= resident_bytes
        self._store: Tensor | None = None
        # Of the epoch asked for last: whoever takes its batches one by one, as meta batches are, draws them once.
        self._prepared: tuple[int, _Prepared] | None = None
        plain = augmentation is None or not augmentation.resamples
        self._make_view = torch.compile(make_view, dynamic=False) if compile and plain else make_view

    def __len__(self) -> int:
        return self.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (0, 1, ...) from ``start_step`` on; equal to those of an epoch that ran through."""
        if self._prepared is None or self._prepared[0] != epoch:
            self._prepared = epoch, self._prepare(epoch)
        order, ids_on_device, draws, numbers = self._prepared[1]
        steps = range(start_step, self.steps_per_epoch)
        places = [slice(step * self.batch_size, (step + 1) * self.batch_size) for step in steps]
        images = self._read([order[place] for place in places])
        for place, store in zip(places, images, strict=True):
            ids = ids_on_device[place]
            rows = ids if self.resident else torch.arange(len(ids), device=self.device)
            views = tuple(self._view(store, rows, ids, one) for one in draws)
            on_host = order[place]
            drawn = Drawn(on_host, tuple(number[on_host] for number in numbers), views)
            yield Batch(views, self._labels[ids], ids, drawn)

    def _prepare(self, epoch: int) -> _Prepared:
        order = self._order(generator(self.seed, epoch, "order"))
        draws = [self._draws(epoch, view) for view in range(self.views)]
        numbers = [self._numbers(epoch, view, drawn) for view, drawn in enumerate(draws)]
        return _Prepared(order, order.to(self.device), draws, numbers)

    @property
    def view_count(self) -> int | None:
        """How many different views an image has; None when each epoch makes new ones (resampled or blanked)."""
        return self.augmentation.view_count if self.augmentation else 1

    def views_at(self, rows: Tensor, slots: Tensor) -> Tensor:
        """Views by their numbers, made anew: sample and view numbers int64 (n,) -> float32 (n, 3, H, W)."""
        store = packed(self.part, rows.numpy(), self._padding).to(self.device)
        here = torch.arange(len(rows), device=self.device)
        if self.view_count is not None:
            return self._view(store, here, here, plain_draws(self.augmentation, slots, self.device))
        made = torch.empty(len(rows), 3, self._size, self._size, device=self.device)
        for slot in slots.unique().tolist():
            places = (slots == slot).nonzero()[:, 0]
            draws = self._draws(*divmod(slot, self.views))
            made[places] = self._view(store, here[places], rows[places].to(self.device), draws)
        return made

    def _numbers(self, epoch: int, view: int, draws: Draws | None) -> Tensor:
        """View numbers of all samples, int64 (N,); where an epoch makes new views, the number of epoch and view."""
        if self.view_count is None:
            return torch.full((len(self.part),), epoch * self.views + view)
        return view_numbers(self.augmentation, draws, len(self.part))

    def _draws(self, epoch: int, view: int) -> Draws | None:
        if self.augmentation is None:
            return None
        return draw(self.augmentation, len(self.part), self._size, self.seed, epoch, view, self.device)

    def _read(self, batches: list[Tensor]) -> Iterator[Tensor]:
        """For each batch packed images (M, P, P) on the device: all of the part, or those of the batch."""
        kept = self._keep()
        if kept is not None:
            yield from itertools.repeat(kept, len(batches))
            return
        ids = [batch.numpy() for batch in batches]
        pin = self.device.type == "cuda"
        for images in read_batches(self.part, ids, self._padding, self.workers, pin):
            yield images.to(self.device, non_blocking=True)

    def _keep(self) -> Tensor | None:
        """All images, on the device; None where they may not stay there, or do not fit."""
        if self.resident and self._store is None:
            try:
                self._store = packed(self.part, np.arange(len(self.part)), self._padding).to(self.device)
            except torch.OutOfMemoryError:
                self.resident = False
                message = "the %d images do not fit on %s beside what is there; they are read batch by batch"
                log.warning(message, len(self.part), self.device)
        return self._store

    def _view(self, store: Tensor, rows: Tensor, ids: Tensor, draws: Draws | None) -> Tensor:
        cutout = self.augmentation.cutout if self.augmentation else 0
        return self._make_view(
            store, rows, ids, draws, self._scale, self._shift, self._size, cutout, self._memory_format
        )


def _steps(count: int, batch_size: int, drop_last: bool, sampler: str) -> int:
    if sampler == "overlapping":
        return overlapping_steps(count, batch_size)
    return count // batch_size if drop_last else -(-count // batch_size)


def _check(count: int, batch_size: int, views: int, shuffle: bool, drop_last: bool, sampler: str, workers: int) -> None:
    problems = []
    if batch_size < 1:
        problems.append(Problem("batch_size", f"{batch_size}; give at least 1"))
    elif drop_last and batch_size > count:
        problems.append(Problem("batch_size", f"{batch_size} is larger than the {count} images to train on"))
    if workers < 0:
        problems.append(Problem("workers", f"{workers}; give 0 or more processes"))
    if views < 1:
        problems.append(Problem("views", f"{views}; give at least 1"))
    if sampler != "uniform" and not (shuffle and drop_last):
        problems.append(Problem("sampler", f"{sampler!r} needs shuffle and drop_last"))
    if sampler == "class-balanced" and batch_size < 2:
        problems.append(Problem("batch_size", f"{batch_size}; class-balanced batches need at least 2"))
    if problems:
        raise BadInput(problems)


def _check_cutout(augmentation: Augmentation | None, size: int) -> None:
    if augmentation is not None and augmentation.cutout >= size:
        message = f"a square of {augmentation.cutout} px would blank a whole image of {size} px; give less"
        raise BadInput(Problem("cutout", message))
