"""``kd doctor``: healthy on a healthy workspace, and each thing that can be wrong is named with what to do."""

from __future__ import annotations

import json
import time

import pytest

from kdengine.cli import main
from kdengine.jobs import JobLabels, JobStore
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import State

SPEC = "data: {name: digits}\n"


def examined(capsys: pytest.CaptureFixture[str], expected: int = 0) -> dict[str, dict[str, str]]:
    assert main(["doctor", "--json"]) == expected
    return {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_a_healthy_workspace(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    JobStore(workspace).submit(SPEC, run_id="done", command="kd train", labels=JobLabels("done"))
    JobStore(workspace).cancel("done")
    found = examined(capsys)
    looked_at = ("Python", "packages", "torch build", "cpu", "workspace", "jobs.db", "mlflow.db", "supervisor", "runs")
    assert {subject: found[subject]["level"] for subject in (*looked_at, "stores")} == dict.fromkeys(
        (*looked_at, "stores"), "ok"
    )
    assert "torch 2" in found["packages"]["text"] and "1 in" in found["runs"]["text"]


def test_one_line_each_without_json(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert all(line.split()[0] in ("ok", "warning") for line in lines) and len(lines) >= 10


def test_a_workspace_that_is_not_there_yet_is_not_made(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = workspace.root.parent / "new" / "home"
    monkeypatch.setenv("KD_HOME", str(elsewhere))
    assert "made at the first run" in examined(capsys)["workspace"]["text"]
    assert not elsewhere.parent.exists()


def test_a_workspace_that_cannot_be_written_is_a_problem(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = workspace.root.parent / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("KD_HOME", str(blocked))
    found = examined(capsys, expected=3)["workspace"]
    assert found["level"] == "problem" and "KD_HOME" in found["advice"]


@pytest.mark.parametrize("damage", ["no database at all", "torn pages"])
def test_a_damaged_database_is_a_problem(workspace: Workspace, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    content = workspace.mlflow_db.read_bytes()
    torn = content[:8192] + bytes(range(256)) * 32 + content[16384:]
    workspace.mlflow_db.write_bytes(b"x" * 8192 if damage == "no database at all" else torn)
    found = examined(capsys, expected=3)["mlflow.db"]
    assert found["level"] == "problem" and "move the file aside" in found["advice"]


def test_jobs_that_wait_for_nobody(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    JobStore(workspace).submit(SPEC, run_id="waiting", command="kd train", labels=JobLabels("waiting"))
    found = examined(capsys)["supervisor"]
    assert found["level"] == "warning" and "1 jobs wait" in found["text"]


def test_orphans_and_locks_are_found(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    store = JobStore(workspace)
    for name in ("orphan", "gone", "held"):
        store.submit(SPEC, run_id=name, command="kd train", labels=JobLabels(name))
        store.change(name, {State.QUEUED}, state=State.STOPPED, ended=time.time())
    dead = process_identity() | {"pid": 2**22 + 1}
    workspace.run("orphan").update_status(state=State.RUNNING, process=dead)
    workspace.run("held").update_status(state=State.STOPPED)
    workspace.run("gone").path.rename(workspace.root / "moved-away")
    with files.lock(workspace.run("held").path / ".running.lock"):
        found = examined(capsys)
    assert found["run orphan"]["advice"] == "kd jobs resume orphan"
    assert found["run gone"]["advice"] == "kd jobs delete gone"
    assert "holds its lock" in found["run held"]["text"]


def test_a_damaged_store_is_named(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (images,) = (workspace.cache / "stores").glob("*/images.npy")
    images.write_bytes(images.read_bytes()[:5000])
    found = examined(capsys)["store"]
    assert found["level"] == "warning" and str(images.parent) in found["text"]
