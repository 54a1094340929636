"""A workspace that is copied or moved while it works: a copy touches nothing of the original, a moved one goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdengine.commands.doctor import examine
from kdengine.jobs import JobStore, ensure_supervisor, stop_supervisor, supervisor_alive, supervisor_identity
from kdengine.workspace.identity import home_identity, same_home
from kdengine.workspace.states import State

SUPERVISOR = [sys.executable, str(Path(__file__).with_name("fake_supervisor.py"))]
NEVER_ENDS = {"steps": 100_000, "step_s": 60, "workers": 1}


def copied(house: Any, to: Path) -> Any:
    """`cp -r`: what of the files can be read at that moment, with their times."""
    subprocess.run(["cp", "-rp", house.workspace.root, to], stderr=subprocess.DEVNULL, check=False)  # a file may vanish
    return type(house)(to)


def times(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_mtime_ns for path in sorted(root.rglob("*"))}


@pytest.fixture
def live(house: Any) -> Any:
    """A workspace at work: one run that its supervisor started, one from a shell; then the supervisor was stopped,
    frozen rather than ended, so that nothing but a copy could change a file."""
    house.submit("supervised", **NEVER_ENDS)
    by_hand = house.workspace.run("by-hand")
    by_hand.create("data: {name: digits}\nfake: {steps: 100000, step_s: 60}\n", "kd train")
    command = [sys.executable, str(Path(__file__).with_name("fake_trainer.py")), str(by_hand.path)]
    house.processes.append(subprocess.Popen(command))
    house.start_supervisor(KD_CPU_SLOTS="2")
    house.wait(lambda: house.store.find("by-hand"))
    for name in ("supervised", "by-hand"):
        house.wait_state(name, State.RUNNING)
    house.wait(lambda: supervisor_alive(house.workspace))
    return house


def test_a_copy_of_a_live_workspace_works_alone(live: Any, tmp_path: Path) -> None:
    supervisor, started = live.processes[1], {process.pid for process in live.members()}
    supervisor.send_signal(19)  # SIGSTOP: it lives and holds its lock, and writes nothing
    live.submit("waiting")  # in the copy it starts, in the original it cannot
    copy = copied(live, tmp_path / "copy")
    before = times(live.workspace.root)
    try:
        assert supervisor_identity(copy.workspace) is None and supervisor_identity(live.workspace)
        assert not stop_supervisor(copy.workspace), "the original's is not the copy's to end"
        assert "none is at work" in " ".join(found.text for found in examine(copy.workspace))
        for ask in (copy.store.request_kill, copy.store.request_stop):
            ask("supervised")
        copy.store.request_kill("by-hand")
        assert ensure_supervisor(copy.workspace, SUPERVISOR)["pid"] != supervisor.pid
        copy.wait_ended("waiting", "supervised", "by-hand")
        assert copy.state("waiting") is State.FINISHED and live.starts("waiting") == 0
        for name in ("supervised", "by-hand"):
            job, status = copy.store.get(name), copy.workspace.run(name).status()
            assert (job.state, status["state"]) == (State.LOST, "lost")
            assert str(live.workspace.root) in job.message and job.advice
        assert {process.pid for process in live.members()} == started, "no signal reached the original's processes"
        assert times(live.workspace.root) == before
        copy.store.resume("supervised")
        copy.wait(lambda: copy.starts("supervised") == 2)
        assert live.starts("supervised") == 1 and times(live.workspace.root) == before
    finally:
        stop_supervisor(copy.workspace)
        copy.close()
        supervisor.send_signal(18)


def test_a_run_found_in_a_copy_without_its_row_is_lost_there(live: Any, tmp_path: Path) -> None:
    copy = copied(live, tmp_path / "copy")
    copy.workspace.jobs_db.unlink()
    for left in copy.workspace.root.glob("jobs.db-*"):
        left.unlink()
    job = JobStore(copy.workspace).adopt(copy.workspace.run("by-hand"))
    assert job is not None and job.state is State.LOST and str(live.workspace.root) in (job.message or "")


def test_a_moved_workspace_goes_on_at_its_new_place(house: Any, tmp_path: Path) -> None:
    house.submit("a", steps=10, step_s=0.3)
    house.submit("b")
    old = house.start_supervisor()
    house.wait(lambda: len(house.steps("a")) > 2)
    moved = type(house)(tmp_path / "elsewhere")
    try:
        house.workspace.root.rename(moved.workspace.root)
        assert old.wait(60) == 0, "its supervisor leaves by itself"
        ensure_supervisor(moved.workspace, SUPERVISOR)
        moved.wait_ended("a", "b")
        assert (moved.state("a"), moved.state("b")) == (State.FINISHED, State.FINISHED)
        steps = moved.steps("a")
        assert sorted(set(steps)) == list(range(1, 11)), "no step was lost"
        assert len(steps) <= 11, "none was done twice but the one under way, whose checkpoint had lost its folder"
        assert not house.workspace.root.exists(), "nothing was made at the old place"
    finally:
        stop_supervisor(moved.workspace)
        moved.close()


def test_what_names_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    named = home_identity(tmp_path / "a:b")
    shutil.copytree(tmp_path / "a:b", tmp_path / "copy")
    assert same_home(named, tmp_path / "a:b") and not same_home(named, tmp_path / "copy")
    (tmp_path / "a:b").rename(tmp_path / "moved")
    assert same_home(named, tmp_path / "moved") and not same_home(named, tmp_path / "a:b")
    assert same_home(None, tmp_path), "identities of earlier versions name none"
