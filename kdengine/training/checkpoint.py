"""Checkpoints: everything that a run remembers, written atomically and only when all of it is finite."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdengine import files
from kdengine.errors import KdError

FORMAT = 1


def random_states() -> dict[str, Any]:
    """States of the random generators of Python, NumPy, torch and every GPU, in types that load safely."""
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
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Sets what `random_states` read."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def save(path: Path, state: dict[str, Any]) -> bool:
    """Writes a checkpoint; returns False, leaving the old one as it is, when anything in it is not finite."""
    if not all_finite(state):
        return False
    if not path.parent.parent.is_dir():  # not made anew: the workspace was moved, and the run goes on there
        raise KdError(f"the folder of the run, {path.parent.parent}, is gone: it was moved or deleted")
    with files.atomic_path(path) as temporary:
        torch.save({"format": FORMAT} | state, temporary)
    return True


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads a checkpoint of our own; raises KdError when it is damaged or of another format."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise KdError(f"the checkpoint {path} cannot be read ({error}); delete it to start the run over") from error
    if state.pop("format", None) != FORMAT:
        raise KdError(f"the checkpoint {path} has another format than this version's ({FORMAT}); start the run over")
    return state


def all_finite(tree: Any) -> bool:
    """Whether every floating-point tensor in nested dicts and lists is finite."""
    if isinstance(tree, Tensor):
        return not tree.is_floating_point() or bool(torch.isfinite(tree).all())
    if isinstance(tree, dict):
        return all(all_finite(value) for value in tree.values())
    if isinstance(tree, list | tuple):
        return all(all_finite(value) for value in tree)
    return True
