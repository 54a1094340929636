"""Small nets, batches and experiments that tests of several rooms share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from kdengine import ExperimentSpec, RunResult
from kdengine.data import Augmentation
from kdengine.data.batches.loader import BatchLoader
from kdengine.data.bundle import Part
from kdengine.testing.trial import MEAN, STD
from kdengine.testing.trial import TinyNet as TinyNet
from kdengine.testing.trial import Trial as Bench
from kdengine.testing.trial import TrialBatch as FakeBatch
from kdengine.testing.trial import total as total
from kdengine.testing.trial import trial_of as bench
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

__all__ = ["Bench", "FakeBatch", "TinyNet", "bench", "total"]

PATIENCE_S = float(os.environ.get("KD_TEST_PATIENCE_S", "600"))
"""How long tests wait for what must come: speed is measured by benchmarks, and a busy machine must not fail a test.

Set ``KD_TEST_PATIENCE_S`` lower to be told soon while writing a test.
"""

NORM = (MEAN, STD)


def wait_until_gone(*pids: int) -> None:
    """Waits until none of these processes runs; one that nobody has reaped yet, as in a container, runs no more."""
    deadline = time.monotonic() + PATIENCE_S
    while (running := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running, f"still running: {running}"


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_workspace(root: Path, furnished: Path) -> Workspace:
    """A workspace like a used one without runs."""
    shutil.copytree(furnished, root, ignore=shutil.ignore_patterns("*.lock"))
    return Workspace(root)


def random_loader(
    count: int = 24,
    batch_size: int = 8,
    size: int = 16,
    classes: int = 4,
    device: torch.device | str = "cpu",
    **options: Any,
) -> BatchLoader:
    """A real loader over random images whose brightness tells the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    images = (
        rng.integers(0, 120, (count, size, size, 3), dtype=np.uint8)
        + (labels * 30).astype(np.uint8)[:, None, None, None]
    )
    settings: dict[str, Any] = {"augmentation": Augmentation(2, True), "shuffle": True, "drop_last": True} | options
    return BatchLoader(
        Part(images, np.arange(count), labels), batch_size=batch_size, mean=NORM[0], std=NORM[1], device=device, seed=0,
        **settings,
    )  # fmt: skip


def tiny_spec(**changes: Any) -> ExperimentSpec:
    """Digits at 16 px, 20 images a class, resnet8 alone, two epochs of 6 steps; half a second."""
    mapping: dict[str, Any] = {
        "data": {"name": "digits", "per_class": 20},
        "student": "resnet8",
        "method": "none",
        "recipe": {"epochs": 2, "batch_size": 32, "warmup_epochs": 0},
        "runtime": {"threads": 1, "device": "cpu", "log_every": 1, "inspect": 0},
    }
    for key, value in changes.items():
        known = mapping.get(key)
        mapping[key] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
    return ExperimentSpec.from_mapping(mapping)


def distilled_spec(**changes: Any) -> ExperimentSpec:
    """A student taught by a teacher that is trained first; both two epochs of resnet8."""
    return tiny_spec(**({"method": "kd", "teacher": "resnet8", "seed": 1} | changes))


def long_spec() -> ExperimentSpec:
    """Four epochs of six steps with all that must be remembered: EMA, dropout, the method's parts; looked at twice."""
    recipe = {"epochs": 4, "ema": 0.8, "label_smoothing": 0.1}
    return tiny_spec(student="mobilenetv3_small", method="byot", recipe=recipe, runtime={"inspect": 2}, seed=3)


class Distilled(NamedTuple):
    """Two equal runs of a student: the first trained the teacher, the second found it."""

    workspace: Workspace
    first: RunResult
    second: RunResult


def start_kd(workspace: Workspace, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A real ``kd`` process on that workspace."""
    return subprocess.Popen(
        [sys.executable, "-m", "kdengine", "--home", str(workspace.root), *words],
        env=dict(os.environ) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes], timeout_s: float = PATIENCE_S) -> None:
    """Waits until the condition holds; fails with the process's own words when it ends before."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"waited in vain; exit code {process.returncode}\n{out.decode()}\n{err.decode()}")
        time.sleep(0.003)


def last_step(run: RunDirectory) -> int:
    """The highest step told so far."""
    return max((event["step"] for event in run.events("step")), default=0)


def signal_at_step(run: RunDirectory, process: subprocess.Popen[bytes], step: int, number: signal.Signals) -> int:
    """Sends the signal as soon as that step is told; returns the exit code as the shell would show it."""
    wait_for(lambda: last_step(run) >= step, process)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    return process.returncode


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
