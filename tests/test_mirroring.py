"""MLflow is told beside the training and made up for later; deleted, copied and oddly named, it stays one story."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support import PATIENCE_S, make_workspace, start_kd, tiny_spec
from test_tracking import assert_equal_to_events, client, history, twin_of

from kdengine import run, runner, tracking
from kdengine.cli import main
from kdengine.jobs.executor import RUNNING_LOCK
from kdengine.tracking import mirroring, server
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

NOBODY = "http://127.0.0.1:9"
ODD = "a%20b?c#d é{x}"


def made(workspace: Workspace, run_id: str, epochs: int = 2, state: State = State.FINISHED) -> RunDirectory:
    """A run as a trainer leaves it, without the training."""
    folder = runner.create(tiny_spec(), workspace, run_id)
    folder.update_status(started=time.time())
    go_on(folder, epochs, state)
    return folder


def go_on(folder: RunDirectory, to: int, state: State) -> None:
    """The epochs up to ``to`` that the run does not have yet, and its state after them."""
    for epoch in range(folder.status().get("progress", {}).get("epoch", 0) + 1, to + 1):
        values = {"loss": 1 / epoch, "lr": 0.1, "images_per_s": 9.0, "validation": {"accuracy": 0.1 * epoch}}
        folder.append_event({"kind": "epoch", "epoch": epoch, "terms": {"ce": {"raw": 1.0, "weighted": 1.0}}} | values)
        folder.update_status(progress={"epoch": epoch, "epochs": to})
    folder.update_status(state=state, ended=time.time() if state.ended else None)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def names(runs: list[RunDirectory]) -> list[str]:
    return [folder.id for folder in runs]


class Silent:
    """A server that takes every connection and never says a word; it counts those that gave up waiting."""

    def __init__(self) -> None:
        self.given_up = 0
        self.asked = 0
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            self._open.append(connection)
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        try:
            while connection.recv(4096):
                pass
        except OSError:
            return
        self.given_up += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


# beside the training -------------------------------------------------------------------------------------------------


def test_training_does_not_wait_for_a_silent_server_and_sync_makes_up_for_it(
    workspace: Workspace, silent: Silent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "REACH_S", PATIENCE_S / 4)
    monkeypatch.setattr(mirroring, "SERVER_WAIT_S", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent.address)
    assert run(tiny_spec(), run_id="run", workspace=workspace).state == State.FINISHED
    assert silent.asked and not silent.given_up, "the run is over, and nobody has given up waiting yet"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    capsys.readouterr()
    assert main(["sync"]) == 3
    said = capsys.readouterr()
    assert said.out == "run: still owed\n" and f"MLflow at {NOBODY} does not answer (" in said.err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == "run: up to date in MLflow\n"
    folder = workspace.run("run")
    assert_equal_to_events(workspace, folder)
    assert twin_of(workspace, folder).info.status == "FINISHED"
    assert main(["sync"]) == 0 and "nothing is owed to MLflow at" in capsys.readouterr().out


def test_a_server_that_refuses_is_there_and_its_password_is_not_repeated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        do_POST = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://kd:secret@127.0.0.1:{server.server_port}")
        tracking.reach(workspace)
        outcome = mirroring.catch_up(workspace, [made(workspace, "run")])
        server.shutdown()
    assert not outcome.silent and "401" in outcome.owed["run"] and "secret" not in outcome.owed["run"]


def test_a_process_ends_though_its_server_is_silent(workspace: Workspace, silent: Silent) -> None:
    made(workspace, "run")
    script = (
        "import sys; from kdengine import tracking; from kdengine.tracking import mirroring;"
        "from kdengine.workspace import Workspace;"
        "tracking.REACH_S, mirroring.SERVER_WAIT_S = 1e5, 0.2; workspace = Workspace(sys.argv[1]);"
        "mirroring.Companion(workspace, workspace.run('run')).finish(); print('mlflow' in sys.modules)"
    )
    environment = {"MLFLOW_TRACKING_URI": silent.address, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(workspace.root)],
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert "MLflow lacks the end of run; `kd sync`, or the next run, makes up for it" in done.stderr


def test_a_companion_tells_each_epoch_and_then_what_others_left_owed(workspace: Workspace) -> None:
    made(workspace, "a-damaged")
    files.write_text(workspace.run("a-damaged").path / "mlflow.json", "{")
    late, own = made(workspace, "late"), made(workspace, "own", epochs=1, state=State.RUNNING)
    companion = mirroring.Companion(workspace, own)
    companion.wake()
    wait_for(lambda: names(mirroring.owed(workspace)) == ["a-damaged"])
    go_on(own, 3, State.FINISHED)
    companion.finish()
    assert names(mirroring.owed(workspace)) == ["a-damaged"]
    for folder in (late, own):
        assert_equal_to_events(workspace, folder)
        assert twin_of(workspace, folder).info.status == "FINISHED"


def test_a_supervisor_that_starts_makes_up_for_what_is_owed(workspace: Workspace) -> None:
    folder = made(workspace, "run", state=State.FAILED)
    supervisor = start_kd(workspace, "supervise")
    try:
        wait_for(lambda: not mirroring.owed(workspace))
    finally:
        supervisor.terminate()
    assert supervisor.wait(PATIENCE_S) == 0
    assert twin_of(workspace, folder).info.status == "FAILED"
    assert_equal_to_events(workspace, folder)


def test_runs_under_way_and_queued_are_not_owed(workspace: Workspace) -> None:
    runner.create(tiny_spec(), workspace, "queued")
    busy = made(workspace, "busy", state=State.RUNNING)
    with files.lock(busy.path / RUNNING_LOCK):
        assert mirroring.owed(workspace) == []
    assert names(mirroring.owed(workspace)) == ["busy"]


def test_sync_names_every_run_that_it_does_not_find(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "one", "two"]) == 2
    said = capsys.readouterr().err
    assert "there is no run 'one'" in said and "there is no run 'two'" in said


def test_a_deletion_that_mlflow_could_not_be_told_is_made_up_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made(workspace, "run")
    tracking.mirror(workspace, folder)
    twin = tracking.mlflow_run_id(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    tracking.forget(workspace, twin)
    assert tracking.owed_deletions(workspace) == [twin]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == f"{twin}: deleted in MLflow\n"
    assert twin_of(workspace, folder).info.lifecycle_stage == "deleted"
    assert tracking.owed_deletions(workspace) == []


# one twin, whatever happens ------------------------------------------------------------------------------------------


def test_a_twin_whose_making_was_not_answered_is_found_again(workspace: Workspace) -> None:
    folder = made(workspace, "run")
    tracking.mirror(workspace, folder)
    twin, before = tracking.mlflow_run_id(folder), history(workspace, folder)
    # As after a crash, or a time-out, between making the twin and remembering it.
    mark = twin_of(workspace, folder).data.tags["kd.birth"]
    files.write_json(folder.path / "mlflow.json", {"birth": mark})
    assert tracking.address(folder) is None and tracking.behind(folder)
    tracking.mirror(workspace, folder)
    assert tracking.mlflow_run_id(folder) == twin and history(workspace, folder) == before


def test_a_trial_told_first_is_nested_in_its_study_all_the_same(workspace: Workspace) -> None:
    study = workspace.run("study-s")
    study.create('kind: study\nname: s\nexperiment: {"data": {"name": "digits"}}\n', "kd study create s")
    study.update_status(state=State.RUNNING, kind="study")
    trial = made(workspace, "trial")
    trial.update_status(study=study.id, trial=0)
    tracking.mirror(workspace, trial)
    assert twin_of(workspace, trial).data.tags["mlflow.parentRunId"] == tracking.mlflow_run_id(study)


def test_what_was_deleted_in_mlflow_is_restored_and_that_is_said_once(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    folder = made(workspace, "run", epochs=1, state=State.RUNNING)
    tracking.mirror(workspace, folder)
    mlflow, info = client(workspace), twin_of(workspace, folder).info
    mlflow.delete_experiment(info.experiment_id)
    # Another run that begins in the deleted experiment; and the one that goes on.
    tracking.mirror(workspace, made(workspace, "other"))
    mlflow.delete_run(info.run_id)
    go_on(folder, 2, State.FINISHED)
    for _ in range(2):
        tracking.mirror(workspace, folder)
    said = [record.getMessage() for record in caplog.records if "restored" in record.getMessage()]
    assert said == [
        "MLflow had the experiment 'digits' among its deleted ones; it was restored",
        "MLflow had run among its deleted runs; it was restored, since there is more to log",
    ]
    twin = twin_of(workspace, folder)
    assert (twin.info.run_id, twin.info.lifecycle_stage, twin.info.status) == (info.run_id, "active", "FINISHED")
    assert_equal_to_events(workspace, folder)


def test_a_twin_that_is_gone_for_good_is_made_anew_with_all_its_numbers(workspace: Workspace) -> None:
    folder = made(workspace, "run")
    tracking.mirror(workspace, folder)
    first = tracking.mlflow_run_id(folder)
    # What `mlflow gc` does.
    client(workspace)._tracking_client.store._hard_delete_run(first)
    go_on(folder, 3, State.FINISHED)
    tracking.mirror(workspace, folder)
    assert tracking.mlflow_run_id(folder) != first
    assert_equal_to_events(workspace, folder)


def test_a_user_without_a_name_is_a_number(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import pwd

    def nameless(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    folder = made(workspace, "run")
    tracking.mirror(workspace, folder)
    assert twin_of(workspace, folder).data.tags["mlflow.user"] == f"user-{os.getuid()}"


# places --------------------------------------------------------------------------------------------------------------


def test_a_workspace_whose_path_looks_like_a_url_holds_all_that_is_its_own(
    tmp_path: Path, furnished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studies import storage

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    workspace = make_workspace(tmp_path / ODD, furnished)
    for database in (workspace.mlflow_db, workspace.studies_db):
        database.unlink(missing_ok=True)
    folder = made(workspace, "run")
    tracking.mirror(workspace, folder)
    assert_equal_to_events(workspace, folder)
    storage.connect(workspace).create_new_study([storage.optuna.study.StudyDirection.MAXIMIZE], "s")
    assert storage.connect(workspace).get_study_id_from_name("s")
    stored = {path.name for path in workspace.mlflow_artifacts.rglob("*") if path.is_file()}
    assert stored == {"spec.yaml", "command.txt", "accuracy.html", "loss.html"}
    assert workspace.mlflow_db.is_file() and workspace.studies_db.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [ODD, "elsewhere"]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("how", ["copied", "moved"])
def test_a_workspace_at_another_place_leaves_the_old_one_alone(workspace: Workspace, tmp_path: Path, how: str) -> None:
    tracking.mirror(workspace, made(workspace, "old"))
    tracking.mirror(workspace, made(workspace, "half", epochs=1, state=State.RUNNING))
    mlflow = client(workspace)
    theirs = mlflow.create_experiment("theirs", artifact_location=(tmp_path / "theirs").as_uri())
    other = Workspace(tmp_path / "other")
    if how == "copied":
        shutil.copytree(workspace.root, other.root)
    else:
        workspace.root.rename(other.root)
    before = contents(workspace.root)
    go_on(other.run("half"), 2, State.FINISHED)
    fresh = made(other, "fresh")
    assert start_kd(other, "sync").wait(PATIENCE_S) == 0 and mirroring.owed(other) == []
    assert contents(workspace.root) == before
    for folder in (fresh, other.run("half"), other.run("old")):
        twin = tracking.mlflow_run_id(folder)
        assert {item.path for item in client(other).list_artifacts(twin)} >= {"spec.yaml", "figures"}
        place = twin_of(other, folder).info.artifact_uri
        assert place == (other.mlflow_artifacts / "digits" / str(twin) / "artifacts").as_uri()
    assert client(other).get_experiment(theirs).artifact_location == (tmp_path / "theirs").as_uri()


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Path -> (time of the last change, content) of every file."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in root.rglob("*")
    }
