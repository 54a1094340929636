"""In which order an epoch visits the samples. Each order is a pure function of its arguments and the generator.

Every function returns sample numbers as one int64 tensor; consecutive slices of ``batch_size`` are the batches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from kdengine.errors import BadInput, Problem

SAMPLERS = ("uniform", "class-balanced", "same-class-pairs", "overlapping")


def uniform(count: int, generator: Generator) -> Tensor:
    """A permutation of 0..count-1."""
    return torch.randperm(count, generator=generator)


def class_balanced(labels: Tensor, batch_size: int, steps: int, generator: Generator) -> Tensor:
    """Batches that hold their classes in equal numbers.

    With C classes and batches of B: every batch has all classes, B // C or one more of each, when B >= 2C; else a
    random choice of B // 2 classes with two or three of each. A class is dealt like a deck of cards, shuffled anew when
    it runs out; within a batch no sample comes twice unless the class has fewer than the batch needs.

    Args:
        labels: int64 (N,).
        batch_size: B, at least 2.
        steps: how many batches.

    Returns:
        int64 (steps * B,).
    """
    members = _members(labels)
    chosen = min(len(members), batch_size // 2)
    base, more = divmod(batch_size, chosen)
    width = base + (more > 0)
    classes = torch.rand(steps, len(members), generator=generator).argsort(dim=1)[:, :chosen]
    table = torch.empty(steps, chosen, width, dtype=torch.int64)
    for number, samples in enumerate(members):
        places = classes == number
        table[places] = _deal(samples, int(places.sum()), width, generator)
    taken = torch.arange(width) < base + (torch.arange(chosen) < more).long()[:, None]
    return table[:, taken].flatten()


def same_class_pairs(labels: Tensor, batch_size: int, steps: int, generator: Generator) -> Tensor:
    """Batches whose second half holds, place by place, another sample of the same class as the first half.

    Each epoch pairs the samples of a class at random, every sample once (the odd one out gets a partner that has one).

    Args:
        labels: int64 (N,); every class needs two samples, else BadInput.
        batch_size: even, else BadInput.
        steps: how many batches, at most N // batch_size.

    Returns:
        int64 (steps * batch_size,).
    """
    if batch_size % 2:
        raise BadInput(Problem("batch_size", f"{batch_size} is odd; pairs of the same class need an even batch"))
    pairs = []
    for samples in _members(labels):
        if len(samples) < 2:
            label = int(labels[samples[0]])
            raise BadInput(Problem("sampler", f"class {label} has a single training image; pairs need two"))
        shuffled = samples[torch.randperm(len(samples), generator=generator)]
        even = torch.cat([shuffled, shuffled[: len(shuffled) % 2]])
        pairs.append(even.view(-1, 2))
    table = torch.cat(pairs)
    table = table[torch.randperm(len(table), generator=generator)][: steps * batch_size // 2]
    return table.view(steps, batch_size // 2, 2).transpose(1, 2).flatten()


def overlapping(count: int, batch_size: int, steps: int, generator: Generator) -> Tensor:
    """Batches whose first half is the second half of the batch before; the second half is new.

    Args:
        count: number of samples.
        batch_size: even, else BadInput.
        steps: how many batches, at most ``overlapping_steps``.

    Returns:
        int64 (steps * batch_size,).
    """
    half = _half(batch_size)
    halves = torch.randperm(count, generator=generator)[: (steps + 1) * half].view(steps + 1, half)
    return torch.cat([halves[:-1], halves[1:]], dim=1).flatten()


def overlapping_steps(count: int, batch_size: int) -> int:
    """Batches in which every sample is seen twice, once as new and once again."""
    return count // _half(batch_size) - 1


def epoch_order(
    sampler: str, labels: Tensor, batch_size: int, steps: int, shuffle: bool
) -> Callable[[Generator], Tensor]:
    """The order of an epoch, as a function of its generator. Raises BadInput when there is no such sampler."""
    count = len(labels)
    if sampler == "uniform":
        return (lambda generator: uniform(count, generator)) if shuffle else (lambda generator: torch.arange(count))
    if sampler == "class-balanced":
        return lambda generator: class_balanced(labels, batch_size, steps, generator)
    if sampler == "same-class-pairs":
        return lambda generator: same_class_pairs(labels, batch_size, steps, generator)
    if sampler == "overlapping":
        return lambda generator: overlapping(count, batch_size, steps, generator)
    raise BadInput(Problem("sampler", f"there is no sampler {sampler!r}; there are: {', '.join(SAMPLERS)}"))


def _half(batch_size: int) -> int:
    if batch_size % 2:
        raise BadInput(Problem("batch_size", f"{batch_size} is odd; overlapping batches need an even batch"))
    return batch_size // 2


def _members(labels: Tensor) -> list[Tensor]:
    """Sample numbers of each class that occurs."""
    return [torch.nonzero(labels == label).flatten() for label in labels.unique()]


def _deal(samples: Tensor, hands: int, width: int, generator: Generator) -> Tensor:
    """``hands`` rows of ``width`` samples of one class; rows of one deck are disjoint: int64 (hands, width)."""
    repeats = -(-width // len(samples))
    per_deck = max(1, len(samples) // width)
    decks = []
    for _ in range(-(-hands // per_deck)):
        deck = torch.cat([samples[torch.randperm(len(samples), generator=generator)] for _ in range(repeats)])
        decks.append(deck[: per_deck * width].view(per_deck, width))
    return torch.cat(decks)[:hands] if decks else torch.empty(0, width, dtype=torch.int64)
