"""What of a run's folder is logged to MLflow: settings, metrics of epochs and of the machine, the outcome."""

from __future__ import annotations

from typing import Any

from kdengine.spec import ExperimentSpec
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import ELSEWHERE, State

PARAMS_PER_CALL = 90
METRICS_PER_CALL = 900
SYSTEM_EVERY_S = 10.0
MAX_PARAM = 6000


def log_params(client: Any, mlflow_run: str, spec: ExperimentSpec) -> None:
    """Every setting of the spec as a parameter."""
    from mlflow.entities import Param

    params = [Param(key, str(value)[:MAX_PARAM]) for key, value in spec.flat().items()]
    for start in range(0, len(params), PARAMS_PER_CALL):
        client.log_batch(mlflow_run, params=params[start : start + PARAMS_PER_CALL])


def log_epochs(client: Any, mlflow_run: str, run: RunDirectory, done: int, kept: int) -> int:
    """The metrics of the epochs from ``done`` to ``kept``; returns how many are logged then."""
    from mlflow.entities import Metric

    metrics = []
    for event in run.latest("epoch", "epoch"):
        if done < event["epoch"] <= kept:
            when = int(event["time"] * 1000)
            metrics += [Metric(key, value, when, event["epoch"]) for key, value in metrics_of(event).items()]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(mlflow_run, metrics=metrics[start : start + METRICS_PER_CALL])
    return max(done, kept)


def log_system(client: Any, mlflow_run: str, run: RunDirectory, since: float) -> float:
    """Logs how busy the machine was since the time ``since``, every ten seconds as MLflow's own monitor does; by the
    names that it uses, so that they stand under "System metrics". Returns the time of the last one logged."""
    from mlflow.entities import Metric

    metrics = []
    for event in run.events("system"):
        if event["time"] < since + SYSTEM_EVERY_S:
            continue
        since = event["time"]
        values = system_of(event)
        metrics += [Metric(f"system/{key}", value, int(since * 1000), 0) for key, value in values.items()]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(mlflow_run, metrics=metrics[start : start + METRICS_PER_CALL])
    return since


def system_of(event: dict[str, Any]) -> dict[str, float]:
    """The metrics in an event of the machine's state."""
    gpu, mega = event.get("gpu") or {}, 1e6
    found = {
        "cpu_utilization_percentage": 100 * event["cpu"],
        "system_memory_usage_megabytes": event["ram_used"] / mega,
        "system_memory_usage_percentage": 100 * event["ram_used"] / event["ram_total"],
        "disk_available_megabytes": event["disk_free"] / mega,
        "disk_usage_percentage": 100 * (1 - event["disk_free"] / event["disk_total"]),
        "disk_usage_megabytes": (event["disk_total"] - event["disk_free"]) / mega,
    }
    if "use" in gpu:
        found["gpu_0_utilization_percentage"] = 100 * gpu["use"]
    if "used" in gpu:
        found["gpu_0_memory_usage_megabytes"] = gpu["used"] / mega
        found["gpu_0_memory_usage_percentage"] = 100 * gpu["used"] / gpu["total"]
    if "watts" in gpu:
        found["gpu_0_power_usage_watts"] = gpu["watts"]
    return found


def metrics_of(event: dict[str, Any]) -> dict[str, float]:
    """The metrics in the event of an epoch."""
    metrics = {"train.loss": event["loss"], "lr": event["lr"], "images_per_s": event["images_per_s"]}
    for name, values in event["terms"].items():
        metrics |= {f"train.{name}.raw": values["raw"], f"train.{name}.weighted": values["weighted"]}
    return metrics | {f"validation.{name}": value for name, value in event["validation"].items()}


def log_outcome(client: Any, mlflow_run: str, run: RunDirectory, status: dict[str, Any]) -> None:
    """Test metrics, files and figures of a run that has ended."""
    for weights, numbers in status.get("test", {}).items():
        for name, value in numbers.items():
            client.log_metric(mlflow_run, f"test.{weights}.{name}", value, timestamp=int(status["ended"] * 1000))
    for name in ("reason", "message"):
        if status.get(name):
            client.set_tag(mlflow_run, f"kd.{name}", str(status[name]))
    for path in (run.student_file, run.card_file, run.path / "environment.json", run.path / "command.txt"):
        if path.is_file():
            client.log_artifact(mlflow_run, str(path))
    from kdengine.figures import curves

    events = run.latest("epoch", "epoch")
    if events:
        client.log_figure(mlflow_run, curves.accuracy(events, label=run.id), "figures/accuracy.html")
        client.log_figure(mlflow_run, curves.loss_terms(events, weighted=True), "figures/loss.html")


def set_state(client: Any, mlflow_run: str, state: State) -> None:
    """The state, as MLflow names it."""
    name = ELSEWHERE[state].mlflow
    if state.ended:
        client.set_terminated(mlflow_run, status=name)
    else:
        client.update_run(mlflow_run, status=name)
