"""Does a written file compute what the network did, how often is it right, and how long does it take?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdengine.errors import KdError
from kdengine.evaluation.accuracy import score
from kdengine.evaluation.cost import blank_images, size_in_bytes
from kdengine.export.pieces import Piece, ToLogits, deployed
from kdengine.export.request import Measured
from kdengine.methods.base import BatchLike
from kdengine.models.backbone import Backbone

ROUNDS = 40


def try_out(
    pieces: Sequence[Piece], student: Backbone, place: Path, batches: Sequence[BatchLike], say: Callable[[str], object]
) -> tuple[Measured, ...]:
    """Writes every piece, reads it again, and compares it with PyTorch on real images.

    Args:
        pieces: what to write.
        student: the network of the run, in eval mode on the CPU; measured first.
        place: the folder.
        batches: images with their classes.
        say: called with what is being written.

    Raises:
        KdError: a file computes other logits, with the size of the difference.
    """
    targets = torch.cat([batch.target for batch in batches])
    reference = _logits(deployed(student), batches)
    calls: list[ToLogits] = [deployed(student)]
    found = [_measured("", "PyTorch, eager", size_in_bytes(student), reference, reference, targets)]
    for piece in pieces:
        say(f"writing {piece.file}")
        piece.write(place / piece.file)
        calls.append(piece.read(place / piece.file))
        logits, expected = _logits(calls[-1], batches), _logits(piece.expected, batches)
        _check(piece, logits, expected)
        found.append(_measured(piece.file, piece.holds, (place / piece.file).stat().st_size, logits, expected, targets))
    say("measuring how long one image takes")
    seconds = _latencies(calls, blank_images(student))
    return tuple(one._replace(milliseconds=1000 * each) for one, each in zip(found, seconds, strict=True))


@torch.no_grad()
def _logits(to_logits: ToLogits, batches: Sequence[BatchLike]) -> Tensor:
    return torch.cat([to_logits(batch.image).float() for batch in batches])


def _measured(file: str, holds: str, size: int, logits: Tensor, expected: Tensor, targets: Tensor) -> Measured:
    agreement = (logits.argmax(dim=1) == expected.argmax(dim=1)).float().mean().item()
    difference = (logits - expected).abs().max().item()
    return Measured(file, holds, size, score(logits, targets).accuracy, agreement, difference, milliseconds=0.0)


def _check(piece: Piece, logits: Tensor, expected: Tensor) -> None:
    if piece.tolerance is None:
        return
    difference = (logits - expected).abs().max().item()
    allowed = piece.tolerance * max(1.0, expected.abs().max().item())
    # Written so that a difference that is not a number is refused as well.
    if not difference <= allowed:
        raise KdError(
            f"{piece.file} differs from the network in PyTorch by up to {difference:.3g} in a logit, at most "
            f"{allowed:.3g} is rounding; nothing was written"
        )


@torch.no_grad()
def _latencies(calls: Sequence[ToLogits], image: Tensor) -> list[float]:
    """Median seconds of each call for one image, on one thread; the calls take turns, to meet the same load."""
    seconds: list[list[float]] = [[] for _ in calls]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(ROUNDS + 2):
            for call, times in zip(calls, seconds, strict=True):
                start = time.perf_counter()
                call(image)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(times[2:]) for times in seconds]
