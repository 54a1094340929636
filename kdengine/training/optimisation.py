"""Optimiser and learning-rate schedule. The schedule is a function of the step: a resume needs no state of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdengine.spec import RecipeSpec


def build_optimizer(
    recipe: RecipeSpec, groups: list[dict[str, Any]], fused: bool, capturable: bool = False
) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameter groups; weight decay applies to all parameters, as in the field's recipes.

    With ``capturable`` the learning rate is a tensor beside the parameters, which a recorded step reads anew.
    """
    if capturable:
        # One for each group: they may have factors of their own.
        groups = [group | {"lr": torch.tensor(recipe.lr, device=_device(group))} for group in groups]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused, capturable=capturable
        )
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, weight_decay=recipe.weight_decay, fused=fused
    )


def _device(group: dict[str, Any]) -> torch.device:
    device: torch.device = next(iter(group["params"])).device
    return device


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group, times the group's own factor."""
    for group in optimizer.param_groups:
        scaled = rate * group.get("lr_factor", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(scaled)
        else:
            group["lr"] = scaled


def learning_rate(recipe: RecipeSpec, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimiser step ``step`` (from 0).

    Warm-up rises linearly and reaches the full rate at its end; a cosine falls to zero over what is left after it; a
    step schedule multiplies by ``gamma`` once each milestone, counted in whole epochs from the start, has passed.
    """
    warm = recipe.warmup_epochs * steps_per_epoch
    if step < warm:
        return recipe.lr * (step + 1) / (math.floor(warm) + 1)
    if recipe.schedule == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in recipe.milestones)
        return recipe.lr * recipe.gamma**passed
    if recipe.schedule == "cosine":
        total = recipe.epochs * steps_per_epoch
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1.0, total - warm)))
    return recipe.lr


def make_ema(student: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel | None:
    """Moving average of the student's weights (buffers are copied), or None for decay 0."""
    if decay == 0:
        return None
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    return torch.optim.swa_utils.AveragedModel(student, multi_avg_fn=average)
