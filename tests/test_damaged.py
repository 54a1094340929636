"""One file of every kind cut short, overwritten or of a wrong kind: it is named, and everything else works on."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from app import catalog
from app.board import Board
from kdengine.cli import main
from kdengine.comparison.stored_plans import list_plans
from kdengine.errors import BadInput
from kdengine.jobs import JobLabels, JobStore, Placement, Supervisor, supervisor_alive
from kdengine.machine.nvml import Inventory
from kdengine.teachers.records import CARD, damaged_imports, list_imports
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

SPEC = "data: {name: digits}\nstudent: {name: resnet20}\nmethod: {name: none}\n"
EPOCH = b'{"time": 1.0, "kind": "epoch", "epoch": 1, "validation": {"accuracy": 0.5}}\n'
DAMAGES = {
    "empty": b"",
    "zeros": bytes(512),
    "truncated": b'{"state": "finis',
    "garbage": bytes(range(128, 256)),
    "list": b"[1, 2, 3]\n",
    "null": b"null\n",
}
STATUSES = {
    "unknown-state": b'{"state": "flying"}',
    "wrong-best": b'{"state": "finished", "best": 3}',
    "wrong-time": b'{"state": "running", "progress_at": "noon"}',
    "wrong-process": b'{"state": "running", "process": [1]}',
}
NAMED = ("status.json", "spec.yaml", "model_card.json", "annotations.json")
UNNAMED = (
    "events.jsonl",
    "heartbeat",
    "measured.json",
    "choices.json",
    "mlflow.json",
    "environment.json",
    "command.txt",
    "log.txt",
)


def finished(store: JobStore, name: str) -> RunDirectory:
    labels = JobLabels(name, dataset="digits", method="none", student="resnet20")
    store.submit(SPEC, run_id=name, command="kd train", labels=labels)
    store.change(name, {State.QUEUED}, state=State.FINISHED, ended=time.time(), told=True)
    run = store.workspace.run(name)
    run.update_status(state=State.FINISHED, best={"accuracy": 0.5, "epoch": 1}, progress={"epoch": 1, "epochs": 1})
    files.write_json(run.card_file, {"classes": ["0", "1"]})
    run.events_file.write_bytes(EPOCH)
    run.student_file.write_bytes(b"weights")
    return run


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Finished runs, each with one damaged file; a whole one; and damaged files of all other kinds."""
    workspace = Workspace(tmp_path / "home")
    monkeypatch.setenv("KD_HOME", str(workspace.root))
    store = JobStore(workspace)
    finished(store, "whole")
    for file in (*NAMED, *UNNAMED):
        for damage, content in (DAMAGES | (STATUSES if file == "status.json" else {})).items():
            (finished(store, f"{file}-{damage}").path / file).write_bytes(content)
    for column, value in {"state": "flying", "tags": "{", "ended": "noon", "pid": "me"}.items():
        finished(store, f"row-{column}")
        with sqlite3.connect(workspace.jobs_db) as db:
            db.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", [value, f"row-{column}"])
        db.close()
    for damage, content in DAMAGES.items():
        for path in (
            workspace.teachers / f"teacher-{damage}" / CARD,
            workspace.comparisons / f"compared-{damage}" / "plan.yaml",
            workspace.cache / "stores" / f"store-{damage}" / "meta.json",
        ):
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
    (workspace.root / "supervisor.json").write_bytes(DAMAGES["truncated"])
    return workspace


def names_of() -> set[str]:
    named = {f"{file}-{damage}" for file in NAMED for damage in DAMAGES}
    return (
        named
        | {f"status.json-{damage}" for damage in STATUSES}
        | {f"row-{c}" for c in ("state", "tags", "ended", "pid")}
    )


def test_the_page_shows_every_run_and_names_the_damaged(damaged: Workspace) -> None:
    board = Board(damaged)
    rows = {row.id: row for row in board.rows()}
    assert {name for name, row in rows.items() if row.damaged} == names_of()
    assert rows["whole"].best == 0.5 and len(rows) == len(damaged.list_runs())
    for name, row in rows.items():
        detail, record = board.detail(name), board.record(name)
        assert detail is not None and detail.damaged == row.damaged
        assert [event["epoch"] for event in record.epochs] == ([] if name.startswith("events") else [1])
    assert "flying" in str(rows["row-state"].damaged) and "kd jobs resume" in str(rows["row-state"].damaged)
    assert board.record("events.jsonl-list").unreadable == 1
    assert ("resnet20, none, 50.0 %", "run:whole") in [
        (label.partition(": ")[2], choice) for label, choice in catalog.teachers(damaged, {"name": "digits"})
    ]


def test_the_shell_lists_every_run_and_names_the_damaged(
    damaged: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs"]) == 0
    out, err = capsys.readouterr()
    assert {line.split(":")[1].strip() for line in err.splitlines() if line.startswith("kd: ")} == names_of()
    assert len(out.splitlines()) == 1 + len(damaged.list_runs())
    for name in ("status.json-garbage", "row-state", "command.txt-garbage", "log.txt-garbage"):
        assert main(["jobs", "show", name]) == 0 and main(["jobs", "log", name]) == 0
    assert main(["list", "methods"]) == 0 and main(["disk"]) == 0
    assert main(["jobs", "delete", "mlflow.json-garbage"]) == 0
    capsys.readouterr()
    assert main(["compare"]) == 0
    out, err = capsys.readouterr()
    assert all(name in out and name in err for name in list_plans(damaged)) and len(list_plans(damaged)) == len(DAMAGES)


def test_the_doctor_names_every_damaged_file(damaged: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    for subject in (
        *(f"run {name} " for name in names_of()),
        *(f"teacher-{damage}" for damage in DAMAGES),
        *(f"compared-{damage}" for damage in DAMAGES),
        *(f"store-{damage}" for damage in DAMAGES),
    ):
        assert any(subject in line for line in lines), subject
    assert list_imports(damaged) == [] and len(damaged_imports(damaged)) == len(DAMAGES)


def test_the_supervisor_works_on_and_a_resume_writes_the_file_anew(damaged: Workspace) -> None:
    store = JobStore(damaged)
    for name in ("status.json-list", "row-state"):
        store.change(name, set(State), state=State.STOPPED)
    assert store.resume("status.json-list").state is State.QUEUED
    assert damaged.run("status.json-list").status() == {"state": "queued"} | dict.fromkeys(
        ("process", "reason", "message", "advice", "exit_code", "start_token")
    )
    assert (damaged.run("status.json-list").path / "status.json.damaged").read_bytes() == DAMAGES["list"]
    store.cancel("status.json-list")
    supervisor = Supervisor(damaged, placement=Placement(query=Inventory, environment={}))
    assert supervisor.tick() and supervisor.tick()
    assert store.get("status.json-garbage").state is State.FINISHED, "the row knows better than a damaged file"
    assert not supervisor_alive(damaged)


def test_a_damaged_study_is_named_beside_the_others(damaged: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    from studies import actions as control
    from studies import storage
    from studies.plan import read

    mapping = {"experiment": {"data": "digits", "student": "resnet20", "method": "none"}, "budget": {"trials": 1}}
    mapping |= {"space": {"recipe.lr": "0.01..0.1, log"}}
    connected = storage.opened(damaged)
    for name in ("good", "bad"):
        storage.create(connected, read(mapping | {"name": name}))
    storage.open_study(connected, "bad").set_user_attr(storage.PLAN, [1])
    assert [view.plan.name for view in control.views(damaged)] == ["good"]
    assert "'bad'" in caplog.text
    with pytest.raises(BadInput, match="damaged"):
        control.view("bad", damaged)
