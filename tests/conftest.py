"""Shared by all tests: one thread, a workspace of its own for each test, and a watch for what a test leaves behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from kdengine.workspace import Workspace

if TYPE_CHECKING:
    from support import Distilled

# Before anything imports torch, here and in every process a test starts: threads beyond the cores slow tests down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The compiler's pool of threads would outlive the test that compiles first.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
for _name in ("KD_HOME", "MLFLOW_TRACKING_URI"):
    os.environ.pop(_name, None)
# What a test writes need not outlast a loss of power. Processes that tests kill are others, and sync as ever.
os.fsync = lambda file: None

GRACE_S = 60.0
TOLERATED_VARIABLES = ("PYTEST_", "MLFLOW_", "_MLFLOW_", "CUBLAS_", "KMP_", "TORCHINDUCTOR_", "_TORCHINDUCTOR_")
TOLERATED_PROCESSES = ("resource_tracker", "forkserver")


# Rooms and files whose tests start servers, supervisors, trainers or browsers, or measure times: apart from the others.
PROCESSES = (
    *("browser", "chaos"),
    *("test_door.py", "test_page_server.py", "test_worker.py"),
    *("test_jobs.py", "test_copies.py", "test_kill.py", "test_requests.py", "test_supervisor.py"),
    *(
        "test_runner.py",
        "test_cli.py",
        "test_tracking.py",
        "test_mirroring.py",
        "test_forecast.py",
        "test_lock.py",
        "test_add_a_method.py",
        "test_what_a_start_imports.py",
    ),
)


LONGEST = (
    *("test_study_kill9.py", "test_kill9.py", "test_page_server.py", "test_runner.py"),
    *("test_a_whole_run_on_a_gpu.py", "test_on_a_gpu.py", "test_loop.py", "test_controller.py", "test_side_by_side.py"),
    *("test_launch_page.py", "test_runs.py", "test_inspect_page.py", "test_compare.py", "test_race_page.py"),
)
"""Begun first: two processes share the files, and at the end of a pass one waits for what the other has left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what must run alone, by where it stands, and lets it take its time; the longest come first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        if set(item.path.parts) & set(PROCESSES):
            item.add_marker("processes")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(1800))


def pytest_collection_finish() -> None:
    """Takes what lies there for all of the session, thousands of tests and every library, out of the collector's sight:
    each collection would go through it again, and a test that collects between two measurements takes seconds for it.
    """
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session", autouse=True)
def no_workspace_at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails where a job of a workspace of these tests runs on after the last of them: jobs outlive who started them, so
    they are nobody's children."""
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := _at_work(tmp_path_factory.getbasetemp())) and time.monotonic() < deadline:
        time.sleep(0.2)
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert not left, left


def _at_work(folder: Path) -> dict[int, str]:
    """Process ids and command lines of all whose workspace lies in the folder."""
    found = {}
    for process in psutil.process_iter():
        try:
            home, words = process.environ().get("KD_HOME", ""), " ".join(process.cmdline())
            tolerated = process.pid == os.getpid() or any(name in words for name in TOLERATED_PROCESSES)
            if home and not tolerated and Path(home).is_relative_to(folder):
                found[process.pid] = f"{words} in {home}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(TOLERATED_VARIABLES)}


def _children() -> set[psutil.Process]:
    found = set()
    for number in _descendants(os.getpid()):
        try:
            process = psutil.Process(number)
            words = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and not any(name in words for name in TOLERATED_PROCESSES):
                found.add(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _descendants(parent: int) -> Iterator[int]:
    """Process ids of children and theirs, as Linux lists them: psutil reads every process of the machine for it, which
    before and after each of thousands of tests is most of what this watch costs."""
    try:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        found = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except FileNotFoundError:  # gone meanwhile; or another system than Linux
        found = [] if Path("/proc/self/task").is_dir() else [one.pid for one in psutil.Process(parent).children()]
    for child in found:
        yield child
        yield from _descendants(child)


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


@pytest.fixture(scope="session")
def distilled(shared: Workspace) -> Distilled:
    """Two equal runs of a student and the teacher's run; nobody may change them."""
    from support import Distilled, distilled_spec

    from kdengine import run

    return Distilled(shared, run(distilled_spec(), workspace=shared), run(distilled_spec(), workspace=shared))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Path:
    """The folder of a run of `support.long_spec` that nobody disturbed."""
    from support import long_spec, make_workspace

    from kdengine import run

    workspace = make_workspace(tmp_path_factory.mktemp("undisturbed") / "home", furnished)
    return run(long_spec(), run_id="run", workspace=workspace).path


@pytest.fixture(scope="session")
def killed_twice(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Workspace:
    """The workspace of a run of `support.long_spec`, killed twice without warning and then resumed to its end."""
    from support import long_spec, make_workspace, signal_at_step, start_kd

    from kdengine import run, runner

    workspace = make_workspace(tmp_path_factory.mktemp("killed") / "home", furnished)
    folder = runner.create(long_spec(), workspace, "run")
    rng = random.Random(20)
    for lowest, highest in ((2, 11), (12, 22)):
        process = start_kd(workspace, "resume", "run")
        assert signal_at_step(folder, process, rng.randint(lowest, highest), signal.SIGKILL) == -signal.SIGKILL
        assert folder.status()["state"] == "running"
    run(long_spec(), run_id="run", workspace=workspace, resume=True)
    return workspace
