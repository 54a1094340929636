"""Checkpoints: everything that a run remembers, written atomically and only when all of it is finite."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdengine.errors import KdError
from kdengine.workspace import files

FORMAT = 1


def random_states(device: torch.device | None = None) -> dict[str, Any]:
    """States of the random generators of Python, NumPy and torch, in types that load safely.

    Args:
        device: the GPU whose generator belongs to them, for a run that may go on elsewhere; None = every GPU here.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(device),
    }


def _cuda_states(device: torch.device | None) -> list[Tensor]:
    if not torch.cuda.is_available() or (device is not None and device.type != "cuda"):
        return []
    return torch.cuda.get_rng_state_all() if device is None else [torch.cuda.get_rng_state(device)]


def restore_random_states(states: dict[str, Any], device: torch.device | None = None) -> None:
    """Sets what `random_states` read, of the same device or of the one that has taken its place."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if device is None:
        for index, state in enumerate(states["cuda"]):
            torch.cuda.set_rng_state(state, index)
    elif device.type == "cuda" and states["cuda"]:
        # Checkpoints of before hold the generators of all the GPUs that were there.
        torch.cuda.set_rng_state(states["cuda"][min(device.index or 0, len(states["cuda"]) - 1)], device)


def save(path: Path, state: dict[str, Any]) -> bool:
    """Writes a checkpoint; returns False, leaving the old one as it is, when anything in it is not finite."""
    if not all_finite(state):
        return False
    if not path.parent.parent.is_dir():  # not made anew: the workspace was moved, and the run goes on there
        raise KdError(f"the folder of the run, {path.parent.parent}, is gone: it was moved or deleted")
    with files.atomic_path(path) as temporary:
        torch.save({"format": FORMAT} | state, temporary)
    return True


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of our own, all of it onto the host; raises KdError when it is damaged or of another format.

    Some of it belongs there, such as the states of random generators; what belongs on a device, who restores it moves.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise KdError(f"the checkpoint {path} cannot be read ({error}); delete it to start the run over") from error
    if state.pop("format", None) != FORMAT:
        raise KdError(f"the checkpoint {path} has another format than this version's ({FORMAT}); start the run over")
    return state


def all_finite(tree: Any) -> bool:
    """Whether every floating-point tensor in nested dicts and lists is finite; a device is asked once for all of it."""
    finite: dict[torch.device, list[Tensor]] = {}
    for tensor in _tensors(tree):
        if tensor.is_floating_point():
            finite.setdefault(tensor.device, []).append(torch.isfinite(tensor).all())
    return all(bool(torch.stack(each).all()) for each in finite.values())


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(value)
