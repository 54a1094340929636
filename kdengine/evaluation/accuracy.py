"""Accuracy, loss and calibration over a part of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.methods.base import BatchLike

BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Numbers over ``count`` images.

    Attributes:
        accuracy: share of images whose highest logit is their class, 0..1.
        top5: share whose class is among the five highest logits (all of them where there are fewer classes).
        loss: mean cross-entropy, no smoothing.
        ece: expected calibration error, 15 bins of equal width, 0..1.
        per_class: accuracy of each class, in class order; 0 for a class without images.
    """

    count: int
    accuracy: float
    top5: float
    loss: float
    ece: float
    per_class: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """accuracy, top5, loss and ece by name."""
        return {"accuracy": self.accuracy, "top5": self.top5, "loss": self.loss, "ece": self.ece}


class Seen(NamedTuple):
    """What counts of some predictions: 19 bytes an image, so that testing holds neither images nor logits.

    Attributes:
        target: class indices (N,), int64.
        hit: whether the highest logit is the class, bool (N,).
        near: whether it is among the five highest, bool (N,).
        log_probability: of the class, float32 (N,).
        confidence: highest probability, float32 (N,).
        confirmed: whether it is the class's, bool (N,); among equals another than ``hit`` may be looked at.
    """

    target: Tensor
    hit: Tensor
    near: Tensor
    log_probability: Tensor
    confidence: Tensor
    confirmed: Tensor


@torch.no_grad()
def evaluate(logits_of: Callable[[Tensor], Tensor], batches: Iterable[BatchLike]) -> Evaluation:
    """Runs a network over batches, accumulating on the device; memory does not grow with the images.

    Args:
        logits_of: images (B, 3, H, W) -> logits (B, C); the caller has put the network in eval mode.
        batches: at least one batch.
    """
    parts = []
    classes = 0
    for batch in batches:
        logits = logits_of(batch.image).float()
        classes = logits.shape[1]
        parts.append(seen(logits, batch.target))
    return summarised(parts, classes)


def score(logits: Tensor, target: Tensor) -> Evaluation:
    """The numbers of `Evaluation` for logits (N, C) and class indices (N,)."""
    return summarised([seen(logits, target)], logits.shape[1])


def seen(logits: Tensor, target: Tensor) -> Seen:
    """What counts of logits (B, C), float32, and class indices (B,).

    Of equal logits, which 8-bit networks have many of, the first class is the prediction: as everywhere that argmax is
    taken, and not as topk happens to order them.
    """
    hit = logits.argmax(dim=1) == target
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    return Seen(
        target=target,
        hit=hit,
        near=(ranked == target[:, None]).any(dim=1) | hit,
        log_probability=F.log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0],
        confidence=confidence,
        confirmed=predicted == target,
    )


def summarised(parts: Sequence[Seen], classes: int) -> Evaluation:
    """The numbers of `Evaluation` for predictions that were seen part by part; the same whatever the parts."""
    target, hit, near, log_probability, confidence, confirmed = map(torch.cat, zip(*parts, strict=True))
    number = torch.bincount(target, minlength=classes)
    right = torch.bincount(target[hit], minlength=classes)
    return Evaluation(
        count=len(target),
        accuracy=hit.float().mean().item(),
        top5=near.float().mean().item(),
        # Not `mean`: summed as cross_entropy sums, so that it is equal to it in the last bit too.
        loss=F.nll_loss(log_probability[:, None], torch.zeros_like(target)).item(),
        ece=_calibration_error(confidence, confirmed),
        per_class=tuple((right / number.clamp(min=1)).tolist()),
    )


def expected_calibration_error(logits: Tensor, target: Tensor, bins: int = BINS) -> float:
    """Mean gap of confidence and accuracy over equal-width bins of confidence, weighted by images; 0..1.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017, equation 3.
    """
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    return _calibration_error(confidence, predicted == target, bins)


def _calibration_error(confidence: Tensor, right: Tensor, bins: int = BINS) -> float:
    # Not a number counts as bin 0: an index out of range would take a GPU down for the whole process.
    index = (confidence * bins).nan_to_num(0).long().clamp(max=bins - 1)
    gap = right.float() - confidence
    return torch.zeros(bins, device=gap.device).index_add_(0, index, gap).abs().sum().item() / len(right)
