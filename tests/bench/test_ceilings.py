"""The peak is that of the quickest kernel, whichever it is on this machine, and its name is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from kdengine.bench import ceilings
from kdengine.bench.ceilings import PRODUCT, Kernel

CPU = torch.device("cpu")


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_a_kernel_on_a_slow_path_is_not_the_peak(slow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [0.02, 0.02, 0.02]
    taken[slow] = 0.05
    # The third does twice the operations in the same time.
    counted = [1e9, 1e9, 2e9]
    fakes = [Kernel(f"kernel {i}", counted[i], lambda i=i: busy(taken[i])) for i in range(3)]  # type: ignore[misc]
    monkeypatch.setattr(ceilings, "kernels", lambda device, dtype: fakes)
    found = ceilings.ceilings(CPU)
    quick = max(range(3), key=lambda i: counted[i] / taken[i])
    assert found.flops == pytest.approx(counted[quick] / taken[quick], rel=0.2)
    assert found.kernel != f"kernel {slow}" and (slow == 2 or found.kernel == "kernel 2")
    assert found.bytes > 1e8 and found.bytes_each == 4


def test_a_slow_blas_leaves_the_peak_to_the_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = torch.mm

    def slow(*factors: Any) -> torch.Tensor:
        busy(0.5)
        return usual(*factors)

    monkeypatch.setattr(torch, "mm", slow)
    found = ceilings.ceilings(CPU)
    assert "convolution" in found.kernel and found.flops > 2 * 1536**3 / 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operations_are_those_that_torch_counts(dtype: torch.dtype) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    found = ceilings.kernels(CPU, dtype)
    assert found[0].name == PRODUCT and len(found) == 4
    for kernel in found:
        with FlopCounterMode(display=False) as counter:
            kernel.call()
        assert counter.get_total_flops() == kernel.operations
