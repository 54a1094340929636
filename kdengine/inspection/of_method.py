"""What a method shows of itself, whatever method it is."""

from __future__ import annotations

import torch

from kdengine.inspection.subject import Arrays, Subject, on_host
from kdengine.methods.base import InspectedArray


def arrays_of_kind(subject: Subject, *kinds: str) -> Arrays:
    """The arrays of `Method.inspect` that are of these kinds, over all the subject's pictures."""
    with subject.still(), torch.no_grad():
        found: dict[str, InspectedArray] = subject.method.inspect(
            subject.outputs["student"], subject.outputs.get("teacher")
        )
    return {name: on_host(array.values) for name, array in found.items() if array.kind in kinds}


def own_maps(subject: Subject) -> Arrays:
    """Maps (N, H, W), and numbers of each picture (N,) or (N, K), that the method works with."""
    return arrays_of_kind(subject, "map", "vector")
