"""Shared by all tests: one thread, a workspace of its own for each test, and a watch for what a test leaves behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, here and in every process a test starts: many threads on few cores only slow tests down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
import pytest

from kdengine.workspace import Workspace

GRACE_S = 5.0
TOLERATED_VARIABLES = ("PYTEST_", "MLFLOW_", "_MLFLOW_", "CUBLAS_", "TORCHINDUCTOR_")
TOLERATED_PROCESSES = ("resource_tracker", "forkserver")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves a child process, a thread that keeps Python alive, or a changed environment variable."""
    variables, children, threads = _variables(), _children(), _threads()
    yield
    assert _variables() == variables, "the test changed the environment"
    deadline = time.monotonic() + GRACE_S
    while (_children() - children or _threads() - threads) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _children() - children, "the test left processes behind"
    assert not _threads() - threads, "the test left threads behind"


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(TOLERATED_VARIABLES)}


def _children() -> set[psutil.Process]:
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            words = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and not any(name in words for name in TOLERATED_PROCESSES):
                found.add(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MLflow's database made and the digits decoded: the two slow first times, once for all tests."""
    from kdengine import tracking
    from kdengine.data import load_dataset

    workspace = Workspace(tmp_path_factory.mktemp("furnished"))
    tracking.prepare(workspace)
    load_dataset("digits", workspace.datasets, 16, cache=workspace.cache)
    return workspace.root


@pytest.fixture
def workspace(tmp_path: Path, furnished: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace that ``KD_HOME`` names."""
    from support import make_workspace

    workspace = make_workspace(tmp_path / "home", furnished)
    monkeypatch.setenv("KD_HOME", str(workspace.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return workspace


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Workspace:
    """A workspace for trained runs that several tests read and none changes."""
    from support import make_workspace

    return make_workspace(tmp_path_factory.mktemp("shared") / "home", furnished)
