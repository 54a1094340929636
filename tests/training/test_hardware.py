"""How many threads a run takes: what it names, else what the environment says, else all cores."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from kdengine.spec import RuntimeSpec
from kdengine.training.hardware import available_cores, configure, default_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "expected"), [("3", 3), (" 2,1", 2), ("", None), ("0", None), ("-1", None), ("all", None)]
)
def test_the_environment_is_asked(said: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", said)
        assert default_threads() == (expected or available_cores())
    assert available_cores() == len(os.sched_getaffinity(0))


def test_what_the_run_names_wins_and_its_first_attempt_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "3")
        assert configure(RuntimeSpec(), CPU) == 3
        assert configure(RuntimeSpec(threads=2), CPU) == torch.get_num_threads() == 2
        assert configure(RuntimeSpec(threads=2), CPU, threads=1) == torch.get_num_threads() == 1
