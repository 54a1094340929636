"""MLflow holds what the events hold, once, whatever happened to the run; and a run never dies of MLflow."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import PATIENCE_S, Distilled, last_step, tiny_spec

from kdengine import ExperimentSpec, run, runner, tracking
from kdengine.errors import KdError, Stopped
from kdengine.jobs import JobStore
from kdengine.runner.stopping import StopRequest
from kdengine.tracking import notes
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

Rows = dict[str, list[tuple[int, float]]]


def client(workspace: Workspace) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.tracking_uri(workspace))


def twin_of(workspace: Workspace, folder: RunDirectory) -> Any:
    return client(workspace).get_run(tracking.mlflow_run_id(folder))


def history(workspace: Workspace, folder: RunDirectory, prefix: str = "") -> Rows:
    """Every row of every metric: key -> [(step, value)] in order."""
    mlflow, twin = client(workspace), tracking.mlflow_run_id(folder)
    keys = [key for key in mlflow.get_run(twin).data.metrics if key.startswith(prefix)]
    return {key: sorted((row.step, row.value) for row in mlflow.get_metric_history(twin, key)) for key in keys}


def told(folder: RunDirectory) -> Rows:
    """What the epochs' events say, in the same form."""
    rows: Rows = {}
    for event in folder.latest("epoch", "epoch"):
        values = {"train.loss": event["loss"], "lr": event["lr"], "images_per_s": event["images_per_s"]}
        for name, term in event["terms"].items():
            values |= {f"train.{name}.raw": term["raw"], f"train.{name}.weighted": term["weighted"]}
        values |= {f"validation.{name}": value for name, value in event["validation"].items()}
        for key, value in values.items():
            rows.setdefault(key, []).append((event["epoch"], value))
    return rows


def assert_equal_to_events(workspace: Workspace, folder: RunDirectory) -> None:
    # How busy the machine was is told by the clock, not by epochs: tests/machine looks at that.
    apart = ("test.", "system/")
    rows = {key: row for key, row in history(workspace, folder).items() if not key.startswith(apart)}
    assert rows == told(folder)


def test_the_first_step_does_not_wait_for_mlflow(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, steps = tracking.mirror, []

    def mirror_late(home: Workspace, folder: RunDirectory) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while last_step(folder) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        steps.append(last_step(folder))
        mirror(home, folder)

    monkeypatch.setattr(tracking, "mirror", mirror_late)
    result = run(tiny_spec(), workspace=workspace)
    assert steps[0] > 0
    assert_equal_to_events(workspace, workspace.run(result.run_id))


def test_a_finished_run_is_mirrored_whole(distilled: Distilled) -> None:
    workspace = distilled.workspace
    folder = workspace.run(distilled.first.run_id)
    twin = twin_of(workspace, folder)
    assert twin.info.status == "FINISHED"
    assert_equal_to_events(workspace, folder)
    for weights in ("best", "last"):
        for name, value in distilled.first.metrics[weights].items():
            assert twin.data.metrics[f"test.{weights}.{name}"] == value
    assert twin.data.params["method.temperature"] == "4.0"
    assert twin.data.params["teacher.spec.student.name"] == "resnet8"
    assert twin.data.tags["kd.run"] == folder.id
    assert twin.data.tags["kd.fingerprint"] == folder.status()["fingerprint"]


def test_files_and_figures_are_artifacts(distilled: Distilled) -> None:
    workspace = distilled.workspace
    folder = workspace.run(distilled.first.run_id)
    mlflow = client(workspace)
    artifacts = {item.path for item in mlflow.list_artifacts(tracking.mlflow_run_id(folder))}
    assert artifacts >= {"spec.yaml", "command.txt", "environment.json", "figures"}
    assert artifacts >= {"student.safetensors", "model_card.json"}
    assert {path.name for path in workspace.mlflow_artifacts.rglob("*.html")} == {"accuracy.html", "loss.html"}
    stored = next(workspace.mlflow_artifacts.rglob(f"{twin_of(workspace, folder).info.run_id}/**/student.safetensors"))
    assert stored.read_bytes() == folder.student_file.read_bytes()


def test_each_run_has_one_twin_in_the_experiment_of_its_data(distilled: Distilled) -> None:
    mlflow = client(distilled.workspace)
    experiment = mlflow.get_experiment_by_name("digits")
    twins = mlflow.search_runs([experiment.experiment_id])
    runs = [folder.id for folder in distilled.workspace.list_runs()]
    assert sorted(twin.data.tags["kd.run"] for twin in twins) == runs


def test_killed_and_resumed_is_told_once(killed_twice: Workspace) -> None:
    folder = killed_twice.run("run")
    assert twin_of(killed_twice, folder).info.status == "FINISHED"
    assert_equal_to_events(killed_twice, folder)
    assert all(len(rows) == 1 for rows in history(killed_twice, folder, "test.").values())


def test_mirrored_again_nothing_is_told_twice(workspace: Workspace) -> None:
    result = run(tiny_spec(recipe={"epochs": 1}), workspace=workspace)
    folder = workspace.run(result.run_id)
    before = history(workspace, folder)
    tracking.mirror(workspace, folder)
    # As after a crash between telling MLflow and remembering it.
    memory = notes.memory_of(folder)
    notes.remember(folder, memory | {"epochs": 0, "state": None, "files": ""})
    tracking.mirror(workspace, folder)
    assert history(workspace, folder) == before


def test_a_stopped_run_is_killed_there_and_runs_again_when_resumed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopRequest, "__bool__", lambda self: True)
    with pytest.raises(Stopped):
        run(tiny_spec(), run_id="run", workspace=workspace)
    folder = workspace.run("run")
    assert twin_of(workspace, folder).info.status == "KILLED"
    first = tracking.mlflow_run_id(folder)
    monkeypatch.undo()
    run(tiny_spec(), run_id="run", workspace=workspace, resume=True)
    assert tracking.mlflow_run_id(folder) == first
    assert twin_of(workspace, folder).info.status == "FINISHED"
    assert_equal_to_events(workspace, folder)


def test_a_failed_run_failed_there_too_with_its_reason(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdengine.methods.none import Alone

    def breaks(self: Any, *arguments: Any) -> Any:
        raise MemoryError("no memory for 3 tensors")

    monkeypatch.setattr(Alone, "forward", breaks)
    with pytest.raises(KdError):
        run(tiny_spec(), run_id="run", workspace=workspace)
    twin = twin_of(workspace, workspace.run("run"))
    assert twin.info.status == "FAILED"
    assert twin.data.tags["kd.reason"] == "oom_host"
    assert "no memory for 3 tensors" in twin.data.tags["kd.message"]


def test_a_run_whose_trainer_died_is_told_by_another_process(workspace: Workspace) -> None:
    result = run(tiny_spec(recipe={"epochs": 1}), workspace=workspace)
    folder = workspace.run(result.run_id)
    folder.update_status(state=State.LOST)
    tracking.mirror(workspace, folder)
    assert twin_of(workspace, folder).info.status == "FAILED"


def test_a_deleted_run_is_deleted_there(workspace: Workspace) -> None:
    result = run(tiny_spec(recipe={"epochs": 1}), workspace=workspace)
    folder = workspace.run(result.run_id)
    tracking.forget(workspace, tracking.mlflow_run_id(folder))
    assert twin_of(workspace, folder).info.lifecycle_stage == "deleted"


def test_a_server_that_is_not_there_costs_no_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runner.create(tiny_spec(), workspace, "run")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://kd:secret@127.0.0.1:9")
    with pytest.raises(tracking.Unreachable, match=r"^MLflow at http://127.0.0.1:9 does not answer \(.*refused\)$"):
        tracking.mirror(workspace, folder)
    assert run(tiny_spec(), run_id="run", workspace=workspace, resume=True).state == State.FINISHED
    # The next time that it answers, it gets everything.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.mirror(workspace, folder)
    assert_equal_to_events(workspace, folder)


def test_the_engine_works_without_mlflow(workspace: Workspace) -> None:
    script = """
import sys
sys.modules["mlflow"] = None  # as if it were not installed
sys.path.insert(0, sys.argv[1])
from support import tiny_spec
from kdengine import run
print(run(tiny_spec(recipe={"epochs": 1}), run_id="run").state)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.stdout.strip() == "finished", done.stderr
    assert "mlflow" not in done.stderr.lower()
    assert not (workspace.run("run").path / "mlflow.json").exists()


def test_two_runs_that_are_the_first_of_a_workspace_are_both_mirrored(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new")
    folders = [
        runner.create(ExperimentSpec.from_mapping({"method": "none", "seed": seed}), workspace) for seed in (0, 1)
    ]
    script = (
        "import sys; from kdengine import tracking; from kdengine.workspace import Workspace;"
        "workspace = Workspace(sys.argv[1]); tracking.mirror(workspace, workspace.run(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", script, str(workspace.root)]
    both = [subprocess.Popen([*argv, folder.id], stderr=subprocess.PIPE) for folder in folders]
    errors = [process.communicate()[1].decode() for process in both]
    assert not any("Error" in error for error in errors), errors
    assert all(tracking.mlflow_run_id(folder) for folder in folders)


def test_damaged_notes_of_the_twin_neither_hide_a_run_nor_keep_it_from_being_deleted(workspace: Workspace) -> None:
    """By the page and `kd jobs delete`, by `kd disk --free` and with a study: all ask the same function."""
    run = runner.create(tiny_spec(), workspace, "noted")
    run.update_status(state="stopped")
    (run.path / "mlflow.json").write_text("{half")
    store = JobStore(workspace)
    assert store.adopt(run) is not None and tracking.address(run) is None
    tracking.delete_run(store, "noted")
    assert store.find("noted") is None and not run.path.exists()
