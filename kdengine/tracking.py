"""MLflow: a mirror of the run's folder. The only file that imports it.

The run's own files are the truth. `mirror` copies what is new since the last call, so that it can be called after each
checkpoint by the trainer and, when that was killed, by the supervisor; a value is logged with its event's time, and
MLflow keeps one row for equal (key, step, time), so that nothing is ever counted twice.
"""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Mapping
from typing import Any

import yaml

from kdengine import files
from kdengine.rundir import RunDirectory, short_id
from kdengine.spec import ExperimentSpec
from kdengine.states import ELSEWHERE, State
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

PARAMS_PER_CALL = 90
METRICS_PER_CALL = 900
MAX_PARAM = 6000
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server that does not answer must cost seconds, not the minutes of seven growing pauses after every epoch.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def tracking_uri(workspace: Workspace) -> str:
    """``MLFLOW_TRACKING_URI``, or the workspace's own SQLite database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow_db}"


def available() -> bool:
    """Whether MLflow is installed."""
    import importlib.util

    return importlib.util.find_spec("mlflow") is not None


def prepare(workspace: Workspace) -> None:
    """Creates or migrates the workspace's database, in one process at a time: concurrent first uses would race.

    A server that ``MLFLOW_TRACKING_URI`` names looks after itself.
    """
    if not available() or os.environ.get("MLFLOW_TRACKING_URI"):
        return
    with files.lock(workspace.root / ".mlflow.lock"):
        _client(workspace).search_experiments(max_results=1)


def mirror(workspace: Workspace, run: RunDirectory) -> None:
    """Brings the run's MLflow twin up to date: params, new metrics, state; at the end the files and figures too.

    Never raises for a server that cannot be reached: training must not die of it. The next call catches up.
    """
    if not available():
        return
    try:
        with files.lock(run.path / ".mlflow.lock"):
            if mlflow_run_id(run) is None:
                prepare(workspace)
            _mirror(_client(workspace), workspace, run)
    except Exception as error:
        log.warning(
            "MLflow at %s did not take the run's numbers (%s); they stay in %s",
            tracking_uri(workspace),
            error,
            run.path,
        )


def mlflow_run_id(run: RunDirectory) -> str | None:
    """Id of the run's twin in MLflow, None before the first mirroring."""
    return _memory(run).get("mlflow_run_id")


def address(run: RunDirectory) -> str | None:
    """Where MLflow's own page shows the run, behind its ``#``; None before the first mirroring."""
    memory = _memory(run)
    if not memory.get("experiment_id"):
        return None
    return f"/experiments/{memory['experiment_id']}/runs/{memory['mlflow_run_id']}"


def forget(workspace: Workspace, twin: str | None) -> None:
    """Marks a run of MLflow as deleted; nothing for None. Its id is to be read before the folder is deleted."""
    if twin and available():
        try:
            _client(workspace).delete_run(twin)
        except Exception as error:
            log.warning("MLflow did not delete %s (%s)", twin, error)


def log_comparison(workspace: Workspace, name: str, tables: Mapping[str, str]) -> None:
    """Keeps the tables of a comparison as artifacts of one MLflow run of the experiment "comparisons".

    Like `mirror` it never raises for a server that cannot be reached.

    Args:
        workspace: whose MLflow it is.
        name: of the comparison; its run there is found again by it.
        tables: file name -> content.
    """
    if not available():
        return
    try:
        prepare(workspace)
        client = _client(workspace)
        experiment = _experiment(client, workspace, "comparisons")
        quoted = name.replace("'", "")
        known = client.search_runs([experiment], f"tags.`kd.comparison` = '{quoted}'", max_results=1)
        twin = known[0] if known else client.create_run(experiment, run_name=name, tags={"kd.comparison": quoted})
        for file, content in tables.items():
            client.log_text(twin.info.run_id, content, file)
        client.set_terminated(twin.info.run_id)
    except Exception as error:
        log.warning("MLflow at %s did not take the tables of %s (%s)", tracking_uri(workspace), name, error)


def _mirror(client: Any, workspace: Workspace, run: RunDirectory) -> None:
    memory = _memory(run)
    if "mlflow_run_id" not in memory:
        memory = {"mlflow_run_id": _create(client, workspace, run), "epochs": 0, "state": None, "files": ""}
        _remember(run, memory)
    if "experiment_id" not in memory:
        memory["experiment_id"] = client.get_run(memory["mlflow_run_id"]).info.experiment_id
    twin = memory["mlflow_run_id"]
    epochs = _log_epochs(client, twin, run, memory["epochs"])
    status = run.status()
    state = State(status["state"])
    if state.ended and memory["files"] != f"{state}-{epochs}":
        _log_outcome(client, twin, run, status)
        memory["files"] = f"{state}-{epochs}"
    if memory["state"] != state:
        _set_state(client, twin, state)
    _remember(run, memory | {"epochs": epochs, "state": str(state)})


def _create(client: Any, workspace: Workspace, run: RunDirectory) -> str:
    from mlflow.entities import Param

    text = run.spec_file.read_text()
    plan = yaml.safe_load(text)
    if plan.get("kind") == "study":
        return _create_study(client, workspace, run, plan)
    spec = ExperimentSpec.from_yaml(text)
    experiment_id = _experiment(client, workspace, spec.data.name)
    tags: dict[str, Any] = {
        "kd.run": run.id,
        "kd.fingerprint": spec.fingerprint(),
        "kd.method": spec.method.name,
        "kd.student": spec.student.name,
        "kd.teacher": spec.teacher_label() or "none",
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "kd",
    }
    status = run.status()
    parent = status.get("study")
    parent_twin = mlflow_run_id(workspace.run(parent)) if parent else None
    if parent_twin is not None:
        tags |= {"mlflow.parentRunId": parent_twin, "kd.study": parent, "kd.trial": str(status.get("trial"))}
    twin = client.create_run(
        experiment_id, run_name=spec.title or f"{spec.label()} [{short_id(run.id)}]", tags=tags
    ).info.run_id
    params = [Param(key, str(value)[:MAX_PARAM]) for key, value in spec.flat().items()]
    for start in range(0, len(params), PARAMS_PER_CALL):
        client.log_batch(twin, params=params[start : start + PARAMS_PER_CALL])
    client.log_artifact(twin, str(run.spec_file))
    return twin


def _create_study(client: Any, workspace: Workspace, run: RunDirectory, plan: Mapping[str, Any]) -> str:
    """The run that those of a study's trials are nested in."""
    experiment_id = _experiment(client, workspace, plan["experiment"]["data"]["name"])
    tags = {"kd.run": run.id, "kd.study": plan["name"], "mlflow.user": getpass.getuser()}
    twin = client.create_run(experiment_id, run_name=f"study {plan['name']}", tags=tags).info.run_id
    client.log_artifact(twin, str(run.spec_file))
    return str(twin)


def _experiment(client: Any, workspace: Workspace, name: str) -> str:
    """Id of the experiment of that name, made where it is missing."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    own_store = not os.environ.get("MLFLOW_TRACKING_URI")
    location = (workspace.mlflow_artifacts / name).as_uri() if own_store else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except Exception:  # another process made it in this moment
        return str(client.get_experiment_by_name(name).experiment_id)


def _log_epochs(client: Any, twin: str, run: RunDirectory, done: int) -> int:
    from mlflow.entities import Metric

    # The status is written after the checkpoint: an epoch whose checkpoint is missing will be trained, and told, again.
    kept = run.status().get("progress", {}).get("epoch", 0)
    metrics = []
    for event in run.latest("epoch", "epoch"):
        if done < event["epoch"] <= kept:
            when = int(event["time"] * 1000)
            metrics += [Metric(key, value, when, event["epoch"]) for key, value in _metrics_of(event).items()]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(twin, metrics=metrics[start : start + METRICS_PER_CALL])
    return max(done, kept)


def _metrics_of(event: dict[str, Any]) -> dict[str, float]:
    metrics = {"train.loss": event["loss"], "lr": event["lr"], "images_per_s": event["images_per_s"]}
    for name, values in event["terms"].items():
        metrics |= {f"train.{name}.raw": values["raw"], f"train.{name}.weighted": values["weighted"]}
    return metrics | {f"validation.{name}": value for name, value in event["validation"].items()}


def _log_outcome(client: Any, twin: str, run: RunDirectory, status: dict[str, Any]) -> None:
    for weights, numbers in status.get("test", {}).items():
        for name, value in numbers.items():
            client.log_metric(twin, f"test.{weights}.{name}", value, timestamp=int(status["ended"] * 1000))
    for name in ("reason", "message"):
        if status.get(name):
            client.set_tag(twin, f"kd.{name}", str(status[name]))
    for path in (run.student_file, run.card_file, run.path / "environment.json", run.path / "command.txt"):
        if path.is_file():
            client.log_artifact(twin, str(path))
    from kdengine.figures import curves

    events = run.latest("epoch", "epoch")
    if events:
        client.log_figure(twin, curves.accuracy(events, label=run.id), "figures/accuracy.html")
        client.log_figure(twin, curves.loss_terms(events, weighted=True), "figures/loss.html")


def _set_state(client: Any, twin: str, state: State) -> None:
    name = ELSEWHERE[state].mlflow
    if state.ended:
        client.set_terminated(twin, status=name)
    else:
        client.update_run(twin, status=name)


def _client(workspace: Workspace) -> Any:
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    workspace.root.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=tracking_uri(workspace))


def _memory(run: RunDirectory) -> dict[str, Any]:
    return files.read_json(run.path / "mlflow.json", {})


def _remember(run: RunDirectory, memory: dict[str, Any]) -> None:
    files.write_json(run.path / "mlflow.json", memory)
