"""What a method shows of itself, whatever method it is."""

from __future__ import annotations

import torch

from kdengine.inspection.subject import Arrays, Subject, on_host
from kdengine.methods.base import InspectedArray


def arrays_by_kind(subject: Subject, *kinds: str) -> tuple[Arrays, ...]:
    """The arrays of `Method.inspect` over all the subject's images, those of each kind apart."""
    with subject.still(), torch.no_grad():
        found: dict[str, InspectedArray] = subject.method.inspect(
            subject.outputs["student"], subject.outputs.get("teacher")
        )
    return tuple({name: on_host(array.values) for name, array in found.items() if array.kind == kind} for kind in kinds)


def own_maps(subject: Subject) -> Arrays:
    """Maps (N, H, W), and numbers of each image (N,) or (N, K), that the method works with."""
    maps, vectors = arrays_by_kind(subject, "map", "vector")
    return maps | vectors
