"""Checkpoints hold everything, only when it is finite, and never half of it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from kdengine.errors import KdError
from kdengine.training import checkpoint

CPU = torch.device("cpu")


def draws() -> tuple[float, float, float, float]:
    return random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))


def test_random_states_continue_where_they_were(tmp_path: Path) -> None:
    np.random.randn()  # leaves a cached second Gaussian behind
    checkpoint.save(tmp_path / "last.pt", {"random": checkpoint.random_states()})
    wanted = [draws() for _ in range(3)]
    checkpoint.restore_random_states(checkpoint.load(tmp_path / "last.pt")["random"])
    assert [draws() for _ in range(3)] == wanted


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_and_the_old_one_kept(tmp_path: Path, broken: float) -> None:
    path = tmp_path / "last.pt"
    assert checkpoint.save(path, {"a": {"b": [torch.ones(3)]}, "n": torch.arange(3)})
    before = path.read_bytes()
    assert not checkpoint.save(path, {"a": {"b": [torch.tensor([1.0, broken])]}})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(KdError, match=r"last\.pt cannot be read.*delete it to start the run over"):
        checkpoint.load(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "last.pt")
    with pytest.raises(KdError, match="another format"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "path": Path("/")}, tmp_path / "last.pt")
    with pytest.raises(KdError, match="cannot be read"):
        checkpoint.load(tmp_path / "last.pt")
