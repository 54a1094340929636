"""Accuracy, loss and calibration over a part of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdengine.methods.base import BatchLike

BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Numbers over ``count`` pictures.

    Attributes:
        accuracy: share of pictures whose highest logit is their class, 0..1.
        top5: share whose class is among the five highest logits (all of them where there are fewer classes).
        loss: mean cross-entropy, no smoothing.
        ece: expected calibration error, 15 bins of equal width, 0..1.
        per_class: accuracy of each class, in class order; 0 for a class without pictures.
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


@torch.no_grad()
def evaluate(logits_of: Callable[[Tensor], Tensor], batches: Iterable[BatchLike]) -> Evaluation:
    """Runs a network over batches, accumulating on the device.

    Args:
        logits_of: pictures (B, 3, H, W) -> logits (B, C); the caller has put the network in eval mode.
        batches: at least one batch.
    """
    logits, targets = [], []
    for batch in batches:
        logits.append(logits_of(batch.image).float())
        targets.append(batch.target)
    return score(torch.cat(logits), torch.cat(targets))


def score(logits: Tensor, target: Tensor) -> Evaluation:
    """The numbers of `Evaluation` for logits (N, C) and class indices (N,)."""
    classes = logits.shape[1]
    ranked = logits.topk(min(5, classes), dim=1).indices
    hit = ranked[:, 0] == target
    seen = torch.bincount(target, minlength=classes)
    right = torch.bincount(target[hit], minlength=classes)
    return Evaluation(
        count=len(target),
        accuracy=hit.float().mean().item(),
        top5=(ranked == target[:, None]).any(dim=1).float().mean().item(),
        loss=F.cross_entropy(logits, target).item(),
        ece=expected_calibration_error(logits, target),
        per_class=tuple((right / seen.clamp(min=1)).tolist()),
    )


def expected_calibration_error(logits: Tensor, target: Tensor, bins: int = BINS) -> float:
    """Mean gap of confidence and accuracy over equal-width bins of confidence, weighted by pictures; 0..1.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017, equation 3.
    """
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    # Not a number counts as bin 0: an index out of range would take a GPU down for the whole process.
    index = (confidence * bins).nan_to_num(0).long().clamp(max=bins - 1)
    gap = (predicted == target).float() - confidence
    return torch.zeros(bins, device=logits.device).index_add_(0, index, gap).abs().sum().item() / len(target)
