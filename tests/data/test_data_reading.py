"""Data that stay in the mapped store: equal to resident ones, read by processes that leave nothing behind."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import NORM, PATIENCE_S, tiny_spec, wait_until_gone

from kdengine.assembly import evaluation_batches, load_data, training_batches
from kdengine.data import Augmentation, Part
from kdengine.data.batches.loader import Batch, BatchLoader
from kdengine.data.batches.workers import default_workers
from kdengine.errors import BadInput, KdError
from kdengine.workspace import Workspace

COUNT, SIZE = 300, 12
ALL = Augmentation(flip=True, resized_crop=0.3, rotation=20, cutout=4)


@pytest.fixture
def part(tmp_path: Path) -> Part:
    """Every second image of a store on disk, mapped."""
    images = np.random.default_rng(0).integers(0, 256, (2 * COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    return Part(mapped, np.arange(0, 2 * COUNT, 2), np.arange(COUNT) % 5)


def loader_of(part: Part, **changes: Any) -> BatchLoader:
    arguments: dict[str, Any] = {
        "batch_size": 8, "mean": NORM[0], "std": NORM[1], "device": "cpu", "seed": 7, "shuffle": True,
        "augmentation": Augmentation(crop_padding=2, flip=True), "drop_last": False, "resident_bytes": 0,
    }  # fmt: skip
    return BatchLoader(part, **(arguments | changes))


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one.index, two.index) and torch.equal(one.target, two.target)
        assert all(torch.equal(a, b) for a, b in zip(one.views, two.views, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("start_step", "changes"),
    [
        (0, {}),
        (17, {"views": 2, "augmentation": ALL}),
        (36, {"augmentation": None, "shuffle": False}),
        (5, {"sampler": "overlapping", "drop_last": True}),
        (38, {}),
    ],
)
def test_batches_are_those_of_resident_data(part: Part, workers: int, start_step: int, changes: dict[str, Any]) -> None:
    resident = loader_of(part, resident_bytes=1 << 30, **changes)
    read = loader_of(part, workers=workers, **changes)
    assert resident.resident and not read.resident
    expected = list(resident.epoch(1))[start_step:]
    assert_equal(list(read.epoch(1, start_step)), expected)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_leaves_random_numbers_and_signals_alone(part: Part, workers: int) -> None:
    torch.manual_seed(3)
    state, handler = torch.get_rng_state(), signal.getsignal(signal.SIGCHLD)
    for _ in itertools.islice(loader_of(part, workers=workers).epoch(0), 3):
        assert signal.getsignal(signal.SIGCHLD) == handler
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_that_is_closed_early_leaves_no_process(part: Part) -> None:
    batches = loader_of(part, workers=2).epoch(0)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_an_epoch_that_an_error_ends_leaves_no_process(part: Part) -> None:
    def train() -> None:
        for _ in loader_of(part, workers=2).epoch(0):
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train()
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_said_in_words(part: Part) -> None:
    batches = loader_of(part, workers=2).epoch(0)
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(KdError, match=r"a process that reads images .*resume the run, with runtime\.workers=0"):
        list(batches)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seen", ["dead", "not yet dead"])
def test_what_a_killed_worker_holds_is_not_waited_for(part: Part, monkeypatch: pytest.MonkeyPatch, seen: str) -> None:
    """Killed in the midst of looking whether it shall end, it keeps the lock of that for good."""
    from torch.utils.data import dataloader

    begun: list[Any] = []
    start = dataloader._MultiProcessingDataLoaderIter.__init__

    def noted(stream: Any, loader: Any) -> None:
        start(stream, loader)
        begun.append(stream._workers_done_event)

    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "__init__", noted)
    batches = loader_of(part, workers=2).epoch(0)
    next(batches)
    begun[0]._cond.acquire()  # and never released, as by a dead process
    if seen == "dead":
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        with pytest.raises(KdError, match="a process that reads images"):
            list(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_a_worker_whose_death_is_noticed_only_while_the_others_are_ended_is_said_in_words(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of the signal raises wherever the process is just then."""
    from torch.utils.data import dataloader

    ended = dataloader._MultiProcessingDataLoaderIter._shutdown_workers

    told: list[bool] = []

    def noticed(stream: object) -> None:
        by_the_collector = sys._getframe(1).f_code.co_name == "__del__"  # of an iterator that another test left
        if not by_the_collector:
            told.append(True)  # not the stream: that would keep what is being deleted
        ended(stream)  # now and then PyTorch notices the death here, and raises itself
        if not by_the_collector and len(told) == 1:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "_shutdown_workers", noticed)
    batches = loader_of(part, workers=2).epoch(0)
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(KdError, match="a process that reads images"):
        list(batches)
    assert told


@pytest.mark.parametrize("workers", [0, 2])
def test_what_fails_while_reading_is_told(part: Part, workers: int) -> None:
    damaged = Part(part.images, part.index + 2 * COUNT, part.labels)
    with pytest.raises(IndexError, match="out of bounds"):
        next(loader_of(damaged, workers=workers).epoch(0))


SCRIPT = """
import multiprocessing, os, signal, sys
import numpy as np
from kdengine.data import Part
from kdengine.data.batches.loader import BatchLoader

part = Part(np.zeros((64, 8, 8, 3), np.uint8), np.arange(64), np.arange(64) % 2)
loader = BatchLoader(part, batch_size=2, mean=(0, 0, 0), std=(1, 1, 1), device="cpu", seed=0, augmentation=None,
                     shuffle=True, drop_last=True, resident_bytes=0, workers=2)
batches = loader.epoch(0)
next(batches)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_worker_outlives_a_killed_run() -> None:
    """It would hold the run's lock, which it inherits, and keep the run from being resumed."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.wait(PATIENCE_S)
        assert len(pids) == 2
    wait_until_gone(*pids)


def test_a_spec_says_how_many_processes_read(workspace: Workspace) -> None:
    spec = tiny_spec(runtime={"workers": 3})
    bundle = load_data(spec, workspace)
    cpu = torch.device("cpu")
    assert training_batches(spec, bundle, cpu).workers == evaluation_batches(spec, bundle, "test", cpu).workers == 3
    assert training_batches(tiny_spec(), bundle, cpu).workers == 0
    assert spec.fingerprint() == tiny_spec().fingerprint()
    with pytest.raises(BadInput, match=r"runtime\.workers"):
        tiny_spec(runtime={"workers": -1})


def test_a_gpu_is_read_for_by_up_to_four() -> None:
    assert default_workers(torch.device("cpu")) == 0
    assert 1 <= default_workers(torch.device("cuda")) <= 4


def test_fewer_than_none_is_refused(part: Part) -> None:
    with pytest.raises(BadInput, match="workers: -1"):
        loader_of(part, workers=-1)
