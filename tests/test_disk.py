"""What takes room, and what can go: nothing that a run still needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from finished_comparison import finish
from support import tiny_spec

from kdengine import cli
from kdengine.commands import disk_usage as disk
from kdengine.comparison.plan import make_plan
from kdengine.comparison.stored_plans import save_plan
from kdengine.errors import BadInput
from kdengine.jobs import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("KD_HOME", str(tmp_path))
    monkeypatch.setattr("kdengine.tracking.available", lambda: False)
    return Workspace(tmp_path)


def finished(workspace: Workspace, run_id: str, seed: int = 0) -> RunDirectory:
    run = finish(workspace, tiny_spec(seed=seed), 90.0, run_id)
    run.last_checkpoint.write_bytes(b"c" * 5000)
    return run


def stopped(workspace: Workspace, run_id: str, **status: str) -> RunDirectory:
    run = finished(workspace, run_id, seed=7)
    run.update_status(state="stopped", **status)
    return run


def test_every_byte_is_counted_once(home: Workspace) -> None:
    run = finished(home, "one")
    (home.cache / "stores" / "key").mkdir(parents=True)
    (home.cache / "stores" / "key" / "images.npy").write_bytes(b"p" * 700)
    home.datasets.mkdir()
    (home.datasets / "archive.tar").write_bytes(b"a" * 300)
    (home.teachers / "mine").mkdir(parents=True)
    (home.teachers / "mine" / "teacher.safetensors").write_bytes(b"t" * 900)
    (home.cache / "published").mkdir()
    (home.cache / "published" / "resnet18.safetensors").write_bytes(b"w" * 400)
    places = {place.name: place.bytes for place in disk.usage(home)}
    assert (places["teachers"], places["published"]) == (900, 400)
    assert places["checkpoints"] == 5000 and places["weights"] == len(b"weights")
    assert (places["stores"], places["downloads"], places["MLflow"], places["leftovers"]) == (700, 300, 0, 0)
    assert places["weights"] + places["checkpoints"] + places["logs"] == run.size()
    assert [place.bytes for place in disk.usage(Workspace(home.root / "nowhere"))] == [0] * len(places)


def test_only_checkpoints_that_nobody_resumes_can_go(home: Workspace) -> None:
    done, halted = finished(home, "done"), stopped(home, "halted")
    found = disk.removable(home, "checkpoints")
    assert [(removal.path, removal.bytes) for removal in found] == [(done.last_checkpoint, 5000)]
    assert disk.free(home, found) == 5000
    assert not done.last_checkpoint.exists() and done.student_file.exists() and halted.last_checkpoint.exists()
    assert disk.removable(home, "checkpoints") == []


def test_a_run_that_teaches_a_resumable_one_stays(home: Workspace) -> None:
    finished(home, "teacher")
    finished(home, "alone", seed=1)
    stopped(home, "student", teacher_run="teacher")
    assert {removal.run for removal in disk.removable(home, "runs")} == {"alone", "student"}
    store = JobStore(home)
    store.adopt(home.run("teacher"))
    with pytest.raises(BadInput, match="student can be resumed and has 'teacher' as its teacher; delete that first"):
        store.delete("teacher")
    assert home.run("teacher").exists
    home.run("student").update_status(state="finished")
    store.delete("teacher")
    assert not home.run("teacher").exists


def test_runs_of_a_comparison_stay_and_old_ones_go_first(home: Workspace) -> None:
    common = {"data": {"name": "digits", "per_class": 10}, "student": "resnet20"}
    plan = make_plan("kept", common, ["byot"], range(1))
    save_plan(plan, home)
    finish(home, plan.cells[0].spec, 90.0, "compared")
    old, new = finished(home, "old"), finished(home, "new", seed=1)
    past = time.time() - 3 * disk.DAY_S
    os.utime(old.path, (past, past))
    assert {removal.run for removal in disk.removable(home, "runs")} == {"old", "new"}
    found = disk.removable(home, "runs", older_than_days=2)
    assert [removal.run for removal in found] == ["old"]
    assert disk.free(home, found) == found[0].bytes and not old.path.exists() and new.exists


def test_a_table_with_holes_counts_what_it_takes(home: Workspace) -> None:
    table = home.cache / "replay" / "key"
    table.mkdir(parents=True)
    with (table / "answers").open("wb") as file:
        file.truncate(1 << 30)
        file.write(b"x" * 4096)
    places = {place.name: place for place in disk.usage(home)}
    assert (places["replay"].count, places["replay"].bytes) == (1, pytest.approx(4096, abs=4096))
    assert disk.free(home, disk.removable(home, "replay")) < 10_000 and not table.exists()


@pytest.mark.parametrize("what", ["stores", "replay"])
def test_caches_stay_while_a_run_is_under_way(home: Workspace, what: str) -> None:
    (home.cache / what / "key").mkdir(parents=True)
    assert [removal.path.name for removal in disk.removable(home, what)] == ["key"]
    from kdengine.assembly.launch import submit

    submit(tiny_spec(), home)
    with pytest.raises(BadInput, match="are in use while runs are under way"):
        disk.removable(home, what)


def test_a_leftover_goes_when_nobody_can_be_at_work_on_it(home: Workspace) -> None:
    trash = home.runs / ".trash-x"
    trash.mkdir(parents=True)
    assert disk.removable(home, "leftovers") == []
    past = time.time() - 7200
    os.utime(trash, (past, past))
    assert [removal.path for removal in disk.removable(home, "leftovers")] == [trash]


def test_the_shell_lists_first_and_removes_when_told(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(home, "done")
    assert cli.main(["disk"]) == 0
    assert "checkpoints" in capsys.readouterr().out
    assert cli.main(["disk", "--free", "checkpoints"]) == 0
    assert "nothing was removed" in capsys.readouterr().err and run.last_checkpoint.exists()
    assert cli.main(["disk", "--free", "checkpoints", "--yes"]) == 0
    assert "freed" in capsys.readouterr().err and not run.last_checkpoint.exists()
    assert cli.main(["disk", "--free", "checkpoints"]) == 0
    assert "nothing can go" in capsys.readouterr().err
