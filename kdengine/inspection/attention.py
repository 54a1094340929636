"""Where a network looks: the strength of its maps, and what a class owes to each place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdengine.inspection.subject import Arrays, Subject, on_host
from kdengine.losses.regions import energy
from kdengine.models.backbone import Outputs


def stage_attention(subject: Subject) -> Arrays:
    """``<who>_<n>``: mean over channels of the squared activation of each stage, (N, H, W), of student and teacher.

    Zagoruyko & Komodakis, ICLR 2017 (there a sum over channels). {} for bodies without maps.
    """
    return {
        f"{who}_{number}": on_host(energy(stage))
        for who, outputs in subject.outputs.items()
        for number, stage in enumerate(outputs.stages, 1)
    }


def class_activation(subject: Subject) -> Arrays:
    """Grad-CAM for each network's own first choice: ``student``, each exit, ``teacher``, (N, H, W) >= 0 each.

    Of the deepest map that the head reads; {} for bodies without maps.
    """
    student, teacher = subject.student, subject.teacher
    heads: dict[str, tuple[Callable[[Tensor], Outputs], Callable[[Outputs], Tensor], int]] = {}
    for exit_ in subject.method.exits():
        heads[exit_.name] = (student, exit_.logits, -1 if exit_.stage is None else exit_.stage)
    heads["student"] = (student, lambda outputs: outputs.logits, -1)
    if teacher is not None:
        heads["teacher"] = (teacher.plainly, lambda outputs: outputs.logits, -1)
    found: dict[str, list[Tensor]] = {}
    with subject.still():
        for chunk in subject.chunks():
            for name, (network, logits, stage) in heads.items():
                maps = grad_cam(network, logits, stage, chunk)
                if maps is not None:
                    found.setdefault(name, []).append(maps)
    return {name: on_host(torch.cat(maps)) for name, maps in found.items()}


def grad_cam(
    network: Callable[[Tensor], Outputs],
    logits: Callable[[Outputs], Tensor],
    stage: int,
    images: Tensor,
    classes: Tensor | None = None,
) -> Tensor | None:
    """What each place of a map says for a class: relu(sum over channels of mean gradient x activation).

    Selvaraju et al.: Grad-CAM, ICCV 2017, equations 1 and 2. Behind a head of mean pooling and one linear layer this is
    the class activation map of Zhou et al. (CVPR 2016) over H x W, its negative parts cut off. No ``.grad`` is touched.

    Args:
        network: images -> Outputs, differentiable.
        logits: outputs -> logits (N, C) of the head in question.
        stage: index into the stages.
        images: (N, 3, S, S) as the network takes them.
        classes: int64 (N,); by default the highest logit's.

    Returns:
        (N, H, W), >= 0, float32, detached; None where there are no maps or the head does not read this one.
    """
    with torch.enable_grad():
        outputs = network(images.detach().requires_grad_())
        if not outputs.stages:
            return None
        given = logits(outputs)
        wanted = given.argmax(1) if classes is None else classes
        feature = outputs.stages[stage]
        (slope,) = torch.autograd.grad(given.gather(1, wanted[:, None]).sum(), feature, allow_unused=True)
    if slope is None:
        return None
    weights = slope.float().mean((2, 3), keepdim=True)
    return (weights * feature.detach().float()).sum(1).relu()
