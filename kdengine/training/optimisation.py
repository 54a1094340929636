"""Optimiser and learning-rate schedule. The schedule is a function of the step: a resume needs no state of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kdengine.optimizers import SGD, AdamW
from kdengine.spec import RecipeSpec

SWITCHES = ("fused", "foreach", "capturable", "differentiable")
"""Entries of a parameter group that say how it is computed."""


def build_optimizer(
    recipe: RecipeSpec, groups: list[dict[str, Any]], fused: bool, capturable: bool = False, scaled: bool = False
) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameter groups; weight decay applies to all parameters, as in the field's recipes.

    Args:
        fused: one kernel for all parameters.
        capturable: the learning rate is a tensor beside the parameters, which a recorded step reads anew.
        scaled: gradients are scaled, and a step is left out where they overflow.
    """
    if capturable:
        # One for each group: they may have factors of their own.
        groups = [group | {"lr": torch.tensor(recipe.lr, device=_device(group))} for group in groups]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused, capturable=capturable)
    nesterov = recipe.nesterov and recipe.momentum > 0
    optimizer = SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, weight_decay=recipe.weight_decay, fused=fused
    )
    if scaled and recipe.momentum > 0:
        _still(optimizer)
    return optimizer


def _still(optimizer: torch.optim.SGD) -> None:
    """Lets momentum begin at zero, which the first gradient then becomes, as it does without.

    PyTorch's fused form reserves it in the first step and leaves it unwritten where that step is left out, as the first
    ones in float16 usually are.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


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


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Sets an optimiser's state; how and where it computes stays as it was built here.

    PyTorch would take that over as well: switches of the attempt before, and a learning rate that lies on the host
    where a recorded step reads one on the device.
    """
    own = [{name: group[name] for name in (*SWITCHES, "lr") if name in group} for group in optimizer.param_groups]
    saved = [group | before for group, before in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict(state | {"param_groups": saved})
    for group, before, then in zip(optimizer.param_groups, own, state["param_groups"], strict=True):
        group["lr"] = before["lr"]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(float(then["lr"]))
        else:
            group["lr"] = float(then["lr"])


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


class MovingAverage(AveragedModel):
    """Moving average of a network's weights, in a few operations for all of them; buffers are copied.

    PyTorch's own update copies each buffer by itself, and a counter from the host to the device in every step.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        super().__init__(student)
        self._pull = 1 - decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Takes the first weights as they are, and pulls the average towards all later ones."""
        own: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(model.parameters())
        if own:
            if self.n_averaged == 0:  # lies on the host: nothing waits for the device here
                torch._foreach_copy_(own, theirs)
            else:
                torch._foreach_lerp_(own, theirs, self._pull)
        kept, current = list(self.module.buffers()), list(model.buffers())
        if kept:
            torch._foreach_copy_(kept, current)
        self.n_averaged += 1


def make_ema(student: nn.Module, decay: float) -> MovingAverage | None:
    """Moving average of the student's weights (buffers are copied), or None for decay 0."""
    return MovingAverage(student, decay) if decay else None
