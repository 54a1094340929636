"""Testing goes through the test part: however large that is, no more of it lies in memory at once."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import make_workspace, tiny_spec
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from kdengine import assembly, run
from kdengine.data import DatasetBundle
from kdengine.runner import execution

BYTES_A_IMAGE = 64
"""What is kept of each: 19 bytes, and twice that while parts are joined. Its pixels alone take 3072."""


class Allocations(TorchDispatchMode):
    """Bytes of the memory that operations made and that is still in use; ``peak`` is the most there was."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, memory: torch.UntypedStorage) -> None:
        place, size = memory.data_ptr(), memory.nbytes()
        if place in self._known:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def freed(_: Any) -> None:
            self.now -= size
            self._known.pop(place, None)

        self._known[place] = weakref.ref(memory, freed)


def peak_of_testing(home: Path, furnished: Path, times: int, method: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Most bytes that testing takes when the test part is there so many times."""
    load, test = assembly.load_data, execution._Execution._test
    allocations = Allocations()

    def larger(*args: Any) -> DatasetBundle:
        bundle = load(*args)
        part = bundle.test
        repeated = replace(part, index=np.tile(part.index, times), labels=np.tile(part.labels, times))
        return replace(bundle, test=repeated)

    def watched(*args: Any) -> Any:
        with allocations:
            return test(*args)

    with monkeypatch.context() as patched:
        patched.setattr(assembly, "load_data", larger)
        patched.setattr(execution._Execution, "_test", watched)
        run(tiny_spec(method=method, recipe={"epochs": 1}), workspace=make_workspace(home, furnished))
    return allocations.peak


@pytest.mark.parametrize("method", ["none", "byot"])
def test_the_peak_does_not_grow_with_the_test_part(
    tmp_path: Path, furnished: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (peak_of_testing(tmp_path / f"{n}", furnished, n, method, monkeypatch) for n in (2, 10))
    answers = 5 if method == "byot" else 1
    assert few > 256 * 16 * 16 * 3 * 4, "a batch of images was seen"
    assert many - few < 8 * 360 * BYTES_A_IMAGE * answers
