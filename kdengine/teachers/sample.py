"""A few images of a data set and what a network makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdengine.data import DatasetBundle
from kdengine.models.backbone import Backbone
from kdengine.teachers.records import Rgb
from kdengine.training.teacher import FrozenTeacher


def sample(bundle: DatasetBundle, count: int) -> tuple[np.ndarray, Tensor]:
    """Images with labels: of validation first, of the training part where those are too few; classes take turns.

    Returns:
        uint8 (n, H, W, 3) and int64 (n,), n up to ``count``; class after class in turn, so that each half has each.
    """
    parts = [(part, _turns(part.labels)) for part in (bundle.validation, bundle.train)]
    images, labels, left = [], [], count
    for part, order in parts:
        chosen = order[:left]
        images.append(part.take(chosen))
        labels.append(part.labels[chosen])
        left -= len(chosen)
    return np.concatenate(images), torch.from_numpy(np.concatenate(labels))


BATCH = 128
PLAIN: tuple[Rgb, Rgb] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _turns(labels: np.ndarray) -> np.ndarray:
    """Indices such that every class comes once before any comes twice; the same ones every time."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    return shuffled[np.argsort(rank_in_class(labels[shuffled]), kind="stable")]


def rank_in_class(labels: np.ndarray) -> np.ndarray:
    """For each label (N,), how many equal ones stand before it."""
    by_class = np.argsort(labels, kind="stable")
    sorted_labels = labels[by_class]
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return rank


@torch.no_grad()
def logits_of(backbone: Backbone, mean: Rgb, std: Rgb, images: np.ndarray) -> Tensor:
    """Logits (N, C) of uint8 images (N, H, W, 3) under a normalisation, on the CPU."""
    plain_mean, plain_std = PLAIN
    teacher = FrozenTeacher(
        backbone, mean=mean, std=std, batch_mean=plain_mean, batch_std=plain_std, device=torch.device("cpu"), fold=False
    )
    found = []
    for start in range(0, len(images), BATCH):
        pixels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
        found.append(teacher(pixels).logits)
    return torch.cat(found)
