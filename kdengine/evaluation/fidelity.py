"""How closely a student follows its teacher: the same predictions, the same probabilities.

Stanton, Izmailov, Kirichenko, Alemi, Wilson: Does Knowledge Distillation Really Work? NeurIPS 2021, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Share of images with the same highest class, 0..1; both are logits (N, C)."""
    return float((student.argmax(dim=1) == teacher.argmax(dim=1)).float().mean())


def divergence(student: Tensor, teacher: Tensor) -> float:
    """Mean KL(teacher || student) over images, in nats, at temperature 1; both are logits (N, C)."""
    ours, theirs = student.double().log_softmax(dim=1), teacher.double().log_softmax(dim=1)
    return float(torch.nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True))
