"""Coordinate importance pooling at work: which places survive when a map shrinks, and which others would have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.inspection.subject import Arrays, Subject, on_host
from kdengine.models.backbone import Backbone, Outputs
from kdengine.models.blocks import CoordinateImportancePool


def pools(network: nn.Module) -> list[CoordinateImportancePool]:
    """The importance poolings of a network, shallow to deep."""
    return [module for module in network.modules() if isinstance(module, CoordinateImportancePool)]


def bodies(subject: Subject) -> dict[str, tuple[Backbone, Callable[[Tensor], Outputs]]]:
    """Plain modules of student and teacher, by name, and what runs them on the student's images."""
    found: dict[str, tuple[Backbone, Callable[[Tensor], Outputs]]] = {"student": (subject.student, subject.student)}
    if subject.teacher is not None:
        found["teacher"] = (subject.teacher.backbone, subject.teacher.plainly)
    return found


def pooling_importance(subject: Subject) -> Arrays:
    """Of each importance pooling of student and teacher, ``<who>_<what>_<n>``; {} for networks without one.

    ``importance`` (N, H, W): mean over channels of the weights, each channel's largest being 1. ``channel`` (N, H, W):
    the channel whose weights differ most from place to place. ``max_pool`` (N, H, W): share of the channels in which
    max-pooling would have taken this place. ``stride`` (N, H, W): 1 where a strided convolution would have looked.
    ``rows`` (N, H) and ``columns`` (N, W): mean gates of the coordinate attention.
    """
    found: dict[str, list[Tensor]] = {}
    with subject.still(), torch.no_grad():
        for who, (body, run) in bodies(subject).items():
            for chunk in subject.chunks():
                for number, (pool, x) in enumerate(_inputs(body, run, chunk), 1):
                    for what, values in of_pool(pool, x).items():
                        found.setdefault(f"{who}_{what}_{number}", []).append(values)
    return {name: on_host(torch.cat(parts)) for name, parts in found.items()}


@torch.no_grad()
def of_pool(pool: CoordinateImportancePool, x: Tensor) -> dict[str, Tensor]:
    """What `pooling_importance` says of one pooling and what comes into it, (N, C, H, W)."""
    weights = pool.importance(x)
    varied = weights.flatten(2).var(2).argmax(1)
    rows, columns = pool.attention.gates(x)
    strided = torch.zeros_like(weights[:, 0])
    strided[:, :: pool.stride, :: pool.stride] = 1
    return {
        "importance": weights.mean(1),
        "channel": weights[torch.arange(len(x)), varied],
        "max_pool": taken_by_max(x, pool),
        "stride": strided,
        "rows": rows.float().mean((1, 3)),
        "columns": columns.float().mean((1, 2)),
    }


def taken_by_max(x: Tensor, pool: CoordinateImportancePool) -> Tensor:
    """Share of the channels in which max-pooling of the same window would have taken each place, (N, H, W)."""
    _, places = F.max_pool2d(x.float(), pool.kernel_size, pool.stride, pool.padding, return_indices=True)
    taken = torch.zeros(*x.shape[:2], x.shape[2] * x.shape[3], device=x.device)
    taken.scatter_(2, places.flatten(2), 1.0)
    return taken.mean(1).view(len(x), *x.shape[2:])


def _inputs(
    body: nn.Module, run: Callable[[Tensor], Outputs], images: Tensor
) -> list[tuple[CoordinateImportancePool, Tensor]]:
    """Each pooling of a network with what it is given for these images."""
    seen: list[tuple[CoordinateImportancePool, Tensor]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, CoordinateImportancePool)
        seen.append((module, inputs[0].detach()))

    wanted = pools(body)
    if not wanted:
        return []
    hooks = [pool.register_forward_pre_hook(note) for pool in wanted]
    try:
        run(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
