"""The queue: submit, order, requests, refusals. No process is started here."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import PATIENCE_S

from kdengine.errors import BadInput, DiskFull, KdError
from kdengine.jobs import Job, JobStore, stalled
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import State

SUBMIT_ONCE = """
import sys
from kdengine.jobs import JobStore, JobLabels
from kdengine.workspace import Workspace
store = JobStore(Workspace(sys.argv[1]))
job = store.submit("{}", run_id=sys.argv[2], command="kd", labels=JobLabels(sys.argv[2]), token="form-1")
print(job.id)
"""


def end(house, job_id: str, state: State) -> Job:
    """Ends a job as the supervisor would."""
    job = house.store.change(job_id, {State.QUEUED}, state=state, ended=time.time())
    house.workspace.run(job_id).update_status(state=state)
    return job


def queue(house) -> list[str]:
    return [job.id for job in house.store.jobs({State.QUEUED})]


def test_nothing_is_made_by_reading(tmp_path):
    store = JobStore(Workspace(tmp_path / "none"))
    assert store.jobs() == [] and store.find("a") is None and store.unannounced() == []
    assert not (tmp_path / "none").exists()


def test_submit_makes_row_and_snapshot(house):
    job = house.submit("a", steps=5)
    run = house.workspace.run("a")
    assert (job.state, job.dataset, job.attempt) == (State.QUEUED, "digits", 0)
    assert run.state() is State.QUEUED and "steps: 5" in run.spec_file.read_text()
    assert house.store.clone_source("a") == run.spec_file.read_text()
    assert (run.path / "command.txt").read_text() == "kd train\n"


def test_one_token_makes_one_job_from_threads(house):
    house.store.jobs()
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda number: house.submit(f"run-{number}", token="form-1"), range(8)))
    assert len({job.id for job in jobs}) == 1
    assert len(house.store.jobs()) == len(list(house.workspace.runs.iterdir())) == 1


def test_one_token_makes_one_job_from_processes(house):
    command = [sys.executable, "-c", SUBMIT_ONCE, str(house.workspace.root)]
    both = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b")]
    answers = {process.communicate(timeout=PATIENCE_S)[0] for process in both}
    assert len(answers) == 1 and all(process.returncode == 0 for process in both)
    assert len(house.store.jobs()) == len(list(house.workspace.runs.iterdir())) == 1


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EROFS, KdError)])
def test_no_space_or_read_only_leaves_neither_row_nor_folder(house, monkeypatch, number, error):
    house.submit("before")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(error):
        house.submit("a", token="form")
    monkeypatch.undo()
    assert [job.id for job in house.store.jobs()] == ["before"]
    assert [path.name for path in house.workspace.runs.iterdir()] == ["before"]
    assert house.submit("a", token="form").state is State.QUEUED


def test_what_a_crash_left_of_a_submit_is_completed(house):
    """A study gives its runs names of its own, and submits again what its killed controller had begun."""
    run = house.workspace.run("a")
    run.create("{}", "kd train")
    run.spec_file.unlink()
    (run.path / ".spec.yaml.1f.tmp").touch()
    assert house.submit("a", steps=5).state is State.QUEUED
    assert "steps: 5" in run.spec_file.read_text()
    strange = house.workspace.runs / "b" / "thesis.tex"
    strange.parent.mkdir()
    strange.touch()
    with pytest.raises(BadInput, match="exists already"):
        house.submit("b")
    assert strange.exists()


def test_submit_refuses_in_words(house):
    house.submit("a")
    with pytest.raises(BadInput, match="exists already"):
        house.submit("a")
    with pytest.raises(BadInput, match="not a run id"):
        house.submit("-rf")
    with pytest.raises(BadInput, match="no job 'nobody'"):
        house.submit("b", after="nobody")
    end(house, "a", State.FAILED)
    with pytest.raises(BadInput, match="failed and will not finish"):
        house.submit("b", after="a")
    assert [job.id for job in house.store.jobs()] == ["a"] and not house.workspace.run("b").path.exists()
    with pytest.raises(BadInput, match="no job 'b'"):
        house.store.get("b")


def test_queue_is_reordered(house):
    for name in "abcde":
        house.submit(name)
    house.store.move("c", "top")
    house.store.move("a", "down")
    house.store.move("b", "up")
    house.store.move("b", "bottom")
    assert queue(house) == ["c", "a", "d", "e", "b"]
    house.store.reorder(["b", "e"])
    assert queue(house) == ["b", "e", "c", "a", "d"]
    house.submit("f")
    assert queue(house)[-1] == "f"
    with pytest.raises(BadInput, match="up, down, top or bottom"):
        house.store.move("a", "left")
    house.store.cancel("a")
    with pytest.raises(BadInput, match="only a queued job"):
        house.store.move("a", "up")


def test_cancelled_job_can_be_resumed(house):
    house.submit("a")
    house.submit("b")
    assert house.store.request_stop("a").state is State.STOPPED
    assert house.workspace.run("a").status()["message"] == "cancelled before it started"
    assert house.store.resume("a").state is State.QUEUED
    assert house.workspace.run("a").state() is State.QUEUED and queue(house) == ["b", "a"]
    house.store.change("b", {State.QUEUED}, state=State.RUNNING)
    with pytest.raises(BadInput, match="not queued"):
        house.store.cancel("b")


def test_requests_and_resume_are_refused_in_the_wrong_state(house):
    house.submit("a")
    with pytest.raises(BadInput, match="only a stopped, failed or lost"):
        house.store.resume("a")
    end(house, "a", State.FINISHED)
    with pytest.raises(BadInput, match="has ended already"):
        house.store.request_stop("a")
    with pytest.raises(BadInput, match="is finished"):
        house.store.resume("a")


def test_a_job_resumed_from_a_shell_is_neither_resumed_nor_deleted(house):
    house.submit("a")
    end(house, "a", State.STOPPED)
    house.workspace.run("a").update_status(state=State.RUNNING, process=process_identity())
    for request in (house.store.resume, house.store.delete):
        with pytest.raises(BadInput, match="started from a shell"):
            request("a")


def test_delete_refuses_what_is_needed_and_removes_the_rest(house):
    house.submit("teacher")
    house.submit("student", after="teacher")
    with pytest.raises(BadInput, match="is queued; stop it first"):
        house.store.delete("teacher")
    house.store.change("teacher", {State.QUEUED}, state=State.RUNNING)
    with pytest.raises(BadInput, match="is running; stop it first"):
        house.store.delete("teacher")
    house.store.change("teacher", {State.RUNNING}, state=State.FINISHED)
    house.workspace.run("teacher").update_status(state=State.FINISHED)
    with pytest.raises(BadInput, match="student waits for 'teacher'"):
        house.store.delete("teacher")
    house.store.cancel("student")
    house.store.delete("teacher")
    assert [job.id for job in house.store.jobs()] == ["student"]
    assert [path.name for path in house.workspace.runs.iterdir()] == ["student"]
    with pytest.raises(BadInput, match="was it deleted"):
        house.store.resume("student")


def test_adopted_run_takes_its_labels_from_the_spec(house):
    run = house.workspace.run("by-hand")
    run.create(
        "data: {name: digits}\nmethod: {name: dkd}\nstudent: {name: tiny}\nteacher: {run: t-1}\n", "kd train --x"
    )
    assert house.store.adopt(run) is None, "a folder made this moment belongs to a trainer that is just starting"
    run.update_status(state=State.RUNNING, process=process_identity())
    job = house.store.adopt(run)
    assert (job.dataset, job.method, job.student, job.teacher, job.state) == (
        *("digits", "dkd", "tiny", "t-1"),
        State.RUNNING,
    )
    assert house.store.adopt(run).id == job.id and len(house.store.jobs()) == 1


def test_a_broken_spec_and_a_forgotten_folder_are_still_listed(house):
    run = house.workspace.run("odd")
    run.create("{[not yaml", "kd train")
    job = house.store.adopt(run, now=time.time() + 61)
    assert (job.name, job.state, job.method) == ("odd", State.LOST, "")


def test_listing_200_jobs_is_fast(house):
    for number in range(200):
        house.submit(f"run-{number:03}")
    took = []
    for _ in range(5):
        start = time.perf_counter()
        jobs = house.store.jobs()
        took.append(time.perf_counter() - start)
    assert len(jobs) == 200 and jobs[0].id == "run-000" and len(house.store.jobs(limit=10)) == 10
    assert min(took) < 0.05


def test_a_database_of_a_newer_version_is_refused(house):
    house.submit("a")
    with sqlite3.connect(house.workspace.jobs_db) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(KdError, match="newer version"):
        JobStore(house.workspace).jobs()


def test_stalled_means_running_without_a_step_for_a_minute():
    now = 1000.0
    assert stalled({"state": "running", "progress_at": now - 61}, now)
    assert not stalled({"state": "running", "progress_at": now - 59}, now)
    assert not stalled({"state": "finished", "progress_at": now - 61}, now)
    assert not stalled({"state": "running"}, now), "still loading"
