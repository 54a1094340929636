"""What the Runs page reads, with a full workspace: right, quick, and silent when nothing has changed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.board import Board
from app.pages.runs.handlers import Handlers
from kdengine.figures.run_curves import run_curves
from kdengine.jobs import JobLabels, JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import State

JOBS = 200
STEPS = 10_000


def event(step: int) -> str:
    terms = {name: {"raw": 1.0 / (step + 1), "weighted": 0.5 / (step + 1)} for name in ("ce", "target", "non_target")}
    return json.dumps(
        {"time": 1.0, "kind": "step", "attempt": 1, "step": step, "epoch": 1, "loss": 1.0, "terms": terms, "lr": 0.1,
         "images_per_s": 400.0}
    )  # fmt: skip


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two hundred jobs, one of them with a run of 100,000 steps logged every tenth."""
    workspace = Workspace(tmp_path_factory.mktemp("crowded"))
    store = JobStore(workspace)
    for number in range(JOBS):
        job = store.submit(
            "data: {name: digits}\nrecipe: {epochs: 100}\n",
            run_id=f"run-{number:03d}",
            command="kd train",
            labels=JobLabels(
                name=f"job {number}", dataset="digits", method="kd", student="resnet20", teacher="resnet56"
            ),
        )
        run = workspace.run(job.id)
        run.update_status(
            best={"accuracy": 0.5 + number / 1000, "epoch": 3},
            progress={"epoch": 3, "epochs": 100, "step": 1, "steps": 10},
        )
    long_run = workspace.run("run-000")
    long_run.events_file.write_text("".join(event(10 * step) + "\n" for step in range(STEPS)))
    return workspace


def median_seconds(action: Any, repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        seconds.append(time.process_time() - began)
    return sorted(seconds)[repeats // 2]


def test_rows_tell_what_store_and_status_tell(crowded: Workspace) -> None:
    rows = Board(crowded).rows()
    assert len(rows) == JOBS
    assert [row.position for row in rows] == list(range(1, JOBS + 1))
    by_id = {row.id: row for row in rows}
    assert by_id["run-007"].best == pytest.approx(0.507)
    assert by_id["run-007"].progress == "3/100"
    assert by_id["run-007"].state == State.QUEUED


def test_a_look_at_two_hundred_jobs_and_a_long_run_is_quick(crowded: Workspace) -> None:
    """The handler's own CPU time; 300 ms is what a click may take, with room for the way to the browser."""
    board = Board(crowded)
    before = board.unread("run-000")
    board.rows(), board.detail("run-000")
    assert board.unread("run-000") == before > 1_000_000, "the state of a run is shown before its events are read"
    board.record("run-000")
    assert board.unread("run-000") == 0
    assert median_seconds(board.rows) < 0.1
    assert median_seconds(lambda: board.detail("run-000")) < 0.05
    assert median_seconds(lambda: board.record("run-000")) < 0.1


def test_figures_of_a_long_run_stay_small(crowded: Workspace) -> None:
    record = Board(crowded).record("run-000")
    assert len(record.steps) == STEPS
    figure = run_curves(record.epochs, record.steps, label="x")
    assert all(len(trace.x) <= 1000 for trace in figure.data)
    assert len(figure.to_json()) < 500_000
    last = next(trace for trace in figure.data if trace.name == "target")
    assert last.y[-1] == record.steps[-1]["terms"]["target"]["weighted"], "the last point is always drawn"


def test_new_events_are_read_once_and_the_last_word_counts(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = JobStore(workspace)
    store.submit("data: {name: digits}\n", run_id="r", command="", labels=JobLabels(name="r"))
    run, board = workspace.run("r"), Board(workspace)
    run.append_event({"kind": "step", "step": 1, "loss": 1.0})
    assert [e["loss"] for e in board.record("r").steps] == [1.0]
    run.append_event({"kind": "step", "step": 2, "loss": 0.5})
    run.append_event({"kind": "step", "step": 1, "loss": 0.9})
    with run.events_file.open("a") as file:
        file.write('{"kind": "step", "step": 3, "lo')  # cut short by a crash
    assert [e["loss"] for e in board.record("r").steps] == [0.9, 0.5]
    run.repair_events()
    run.append_event({"kind": "step", "step": 3, "loss": 0.3})
    assert [e["loss"] for e in board.record("r").steps] == [0.9, 0.5, 0.3]


def test_polling_sends_nothing_when_nothing_has_changed(crowded: Workspace) -> None:
    handlers = Handlers(Board(crowded))

    def refresh(known: dict[str, Any]) -> list[Any]:
        return handlers.refresh("run-000", "weighted", 0.0, False, "", known)

    first = refresh({})
    assert first[0] and all("run-000" in str(part) for part in (first[1], first[2], first[4]))
    second = refresh(first[0])
    skip = gr.skip()
    assert all(part == skip for part in second)
    crowded.run("run-001").update_status(best={"accuracy": 0.99, "epoch": 4})
    third = refresh(first[0])
    assert "99.0 %" in third[1], "the table has changed and is sent"
    assert all(part == skip for part in third[2:]), "the rest has not and is not"


def test_the_progress_of_one_run_sends_one_line(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = JobStore(workspace)
    for run_id in ("one", "two"):
        store.submit("data: {name: digits}\n", run_id=run_id, command="", labels=JobLabels(name=run_id))
    store.change("two", {State.QUEUED}, state=State.RUNNING)
    handlers, at = Handlers(Board(workspace)), {"epochs": 100, "step": 1, "steps": 10}
    known: dict[str, Any] = {}
    for epoch in (3, 4):
        workspace.run("two").update_status(
            state=State.RUNNING, progress=at | {"epoch": epoch}, process=process_identity(home=workspace.root)
        )
        known, table, live, *_ = handlers.refresh("one", "weighted", 0.0, False, "", known or {})
        assert f"epoch {epoch}/100" in live and (table == gr.skip()) == (epoch == 4)
        assert list(json.loads(live)["live"]) == ["two"]


def test_names_from_people_are_escaped(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    labels = JobLabels(name="<script>alert(1)</script>", student="<b>x</b>", dataset='"><i>')
    JobStore(workspace).submit("data: {name: digits}\n", run_id="r", command="", labels=labels)
    _, table, live, said, state, *_ = Handlers(Board(workspace)).refresh(
        "r", "raw", 0.0, False, "<b>x=1 methd:<b>x", {}
    )
    assert "did you mean method" in said and "alert(1)" in table
    for html in (table, live, said, state):
        assert "<script>" not in html and "<b>x" not in html and '"><i>' not in html
