"""MLflow: a mirror of the run's folder. The only file that imports it.

The run's own files are the truth. `mirror` copies what is new since the last call, so that it can be called after each
checkpoint by the trainer and, when that was killed, by the supervisor; a value is logged with its event's time, and
MLflow keeps one row for equal (key, step, time), so that nothing is ever counted twice. How far the twin has come is in
the run's ``mlflow.json``, from which `behind` tells what is owed. Who calls `mirror`, and when: `mirroring`.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import yaml

from kdengine import artifact_paths, files
from kdengine.errors import DamagedFile, KdError
from kdengine.jobs import JobStore
from kdengine.rundir import RunDirectory, short_id, user_name
from kdengine.spec import ExperimentSpec
from kdengine.states import ELSEWHERE, State
from kdengine.workspace import Workspace, sqlite_url

log = logging.getLogger(__name__)

PARAMS_PER_CALL = 90
METRICS_PER_CALL = 900
SYSTEM_EVERY_S = 10.0
MAX_PARAM = 6000
VARIABLE = "MLFLOW_TRACKING_URI"
REACH_S = 5.0
DELETED = "deleted"
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server that does not answer must cost seconds, not the minutes of seven growing pauses after every epoch.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Unreachable(KdError):
    """Nobody answers at the address of MLflow's server; asked again it will be the same for a while."""


def tracking_uri(workspace: Workspace) -> str:
    """``MLFLOW_TRACKING_URI``, or the workspace's own SQLite database."""
    return os.environ.get(VARIABLE) or sqlite_url(workspace.mlflow_db)


def own_store() -> bool:
    """Whether MLflow's numbers go to the workspace's own database, and not to a server."""
    return not os.environ.get(VARIABLE)


def shown(workspace: Workspace) -> str:
    """Where MLflow's numbers go, in words: without a password."""
    return str(workspace.mlflow_db) if own_store() else _without_password(os.environ[VARIABLE])


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def available() -> bool:
    """Whether MLflow is installed."""
    import importlib.util

    return importlib.util.find_spec("mlflow") is not None


def reach(workspace: Workspace) -> None:
    """Asks a server that is spoken to by HTTP for a sign of life, five seconds long; without importing MLflow.

    Raises:
        Unreachable: there was none. Any answer is one, a refusal too.
    """
    address = _without_password(tracking_uri(workspace))
    if not address.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=REACH_S):
            return
    except urllib.error.HTTPError:
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return  # somebody is there; MLflow has settings of its own for certificates
        raise Unreachable(f"MLflow at {shown(workspace)} does not answer ({reason})") from error
    except (ValueError, HTTPException) as error:  # an odd address, or an odd answer: MLflow knows what to say to it
        log.debug("%s gave no proper sign of life: %s", shown(workspace), error)


def prepare(workspace: Workspace) -> None:
    """Creates or migrates the workspace's database, in one process at a time: concurrent first uses would race.

    A server that ``MLFLOW_TRACKING_URI`` names looks after itself.
    """
    if not available() or not own_store():
        return
    with files.lock(workspace.root / ".mlflow.lock"):
        _client(workspace).search_experiments(max_results=1)
    artifact_paths.take_home(workspace)


def mirror(workspace: Workspace, run: RunDirectory) -> None:
    """Brings the run's MLflow twin up to date: params, new metrics, state; at the end the files and figures too.

    What MLflow has deleted meanwhile is restored. Nothing is done for a run whose folder is gone, or without MLflow.

    Raises:
        Unreachable: the server does not answer.
        KdError: MLflow did not take it. In both cases nothing is lost: the next call catches up.
    """
    if not available() or not run.exists:
        return
    reach(workspace)
    with _in_words(workspace, f"the numbers of {run.id}"), files.lock(run.path / ".mlflow.lock"):
        if own_store():
            if workspace.mlflow_db.exists() and mlflow_run_id(run):
                artifact_paths.take_home(workspace)
            else:
                prepare(workspace)
        _mirror(_client(workspace), workspace, run)


def behind(run: RunDirectory) -> bool:
    """Whether MLflow lacks something of the run; read from its files alone.

    Raises DamagedFile when ``mlflow.json`` is damaged.
    """
    status = run.status()
    state = status.get("state")
    if "damaged" in status or state in (None, State.QUEUED):
        return False
    memory = _memory(run)
    epochs = max(memory.get("epochs", 0), _epochs_of(status))
    if (memory.get("epochs", 0), memory.get("state")) != (epochs, state):
        return True
    return State(state).ended and memory.get("files") != f"{state}-{epochs}"


@contextmanager
def _in_words(workspace: Workspace, what: str) -> Iterator[None]:
    """Says in one line what MLflow, its database's driver or its client throws."""
    try:
        yield
    except Exception as error:
        first = _without_password((str(error).strip() or type(error).__name__).splitlines()[0])
        raise KdError(f"MLflow at {shown(workspace)} did not take {what} ({first})") from error


def mlflow_run_id(run: RunDirectory) -> str | None:
    """Id of the run's twin in MLflow, None before the first mirroring."""
    return _memory(run).get("mlflow_run_id")


def address(run: RunDirectory) -> str | None:
    """Where MLflow's own page shows the run, behind its ``#``; None before the first mirroring or for damaged notes."""
    with suppress(DamagedFile):
        memory = _memory(run)
        if memory.get("experiment_id"):
            return f"/experiments/{memory['experiment_id']}/runs/{memory['mlflow_run_id']}"
    return None


def delete_run(store: JobStore, run_id: str) -> None:
    """Deletes a run, its row in the queue and its folder, and marks its twin in MLflow as deleted.

    A run whose notes of the twin are damaged is deleted all the same. Raises BadInput as `JobStore.delete` does.
    """
    twin = None
    with suppress(DamagedFile):
        twin = mlflow_run_id(store.workspace.run(run_id))
    store.delete(run_id)
    forget(store.workspace, twin)


def forget(workspace: Workspace, twin: str | None) -> None:
    """Marks a run of MLflow as deleted; nothing for None. Its id is to be read before the folder is deleted.

    When MLflow does not answer, the deletion is noted; `delete_owed` makes up for it.
    """
    if not twin or not available():
        return
    try:
        _delete(workspace, twin)
    except KdError as error:
        _note_deletions(workspace, add={twin})
        log.warning("%s; it will be deleted there when that is possible again", error)


def owed_deletions(workspace: Workspace) -> list[str]:
    """Ids of the runs of MLflow that are still to be deleted there."""
    return list(files.read_json(_deletions_file(workspace), {}).get("delete", []))


def delete_owed(workspace: Workspace, twin: str) -> None:
    """Makes up for one of `owed_deletions`; raises KdError when MLflow does not take it this time either."""
    _delete(workspace, twin)
    _note_deletions(workspace, remove={twin})


def _delete(workspace: Workspace, twin: str) -> None:
    reach(workspace)
    with _in_words(workspace, f"the deletion of {twin}"):
        client = _client(workspace)
        if _found(client, twin) is not None:
            client.delete_run(twin)


def _deletions_file(workspace: Workspace) -> Path:
    return workspace.root / "mlflow-owed.json"


def _note_deletions(workspace: Workspace, add: Set[str] = frozenset(), remove: Set[str] = frozenset()) -> None:
    with files.lock(workspace.root / ".mlflow-owed.lock"):
        left = (set(owed_deletions(workspace)) | add) - remove
        if left:
            files.write_json(_deletions_file(workspace), {"delete": sorted(left)})
        else:
            _deletions_file(workspace).unlink(missing_ok=True)


def log_comparison(workspace: Workspace, name: str, tables: Mapping[str, str]) -> None:
    """Keeps the tables of a comparison as artifacts of one MLflow run of the experiment "comparisons".

    Never raises for a server that cannot be reached: the tables are files of the comparison all the same.

    Args:
        workspace: whose MLflow it is.
        name: of the comparison; its run there is found again by it.
        tables: file name -> content.
    """
    if not available():
        return
    try:
        reach(workspace)
        with _in_words(workspace, f"the tables of {name}"):
            prepare(workspace)
            _log_tables(_client(workspace), workspace, name, tables)
    except KdError as error:
        log.warning("%s", error)


def _log_tables(client: Any, workspace: Workspace, name: str, tables: Mapping[str, str]) -> None:
    experiment = _experiment(client, workspace, "comparisons")
    quoted = name.replace("'", "")
    known = client.search_runs([experiment], f"tags.`kd.comparison` = '{quoted}'", max_results=1)
    twin = known[0] if known else client.create_run(experiment, run_name=name, tags={"kd.comparison": quoted})
    for file, content in tables.items():
        client.log_text(twin.info.run_id, content, file)
    client.set_terminated(twin.info.run_id)


# one run -------------------------------------------------------------------------------------------------------------


def _mirror(client: Any, workspace: Workspace, run: RunDirectory) -> None:
    memory = _living(client, run, _memory(run))
    if "mlflow_run_id" not in memory:
        memory = _begun(client, workspace, run, memory)
    twin = memory["mlflow_run_id"]
    # Read once: what is told of the epochs and of the state must not lie a moment apart.
    status = run.status()
    state = State(status["state"])
    epochs = _log_epochs(client, twin, run, memory["epochs"], _epochs_of(status))
    told = _log_system(client, twin, run, float(memory.get("system") or 0.0))
    if state.ended and memory["files"] != f"{state}-{epochs}":
        _log_outcome(client, twin, run, status)
        memory["files"] = f"{state}-{epochs}"
    if memory["state"] != state:
        _set_state(client, twin, state)
    _remember(run, memory | {"epochs": epochs, "state": str(state), "system": told})


def _epochs_of(status: Mapping[str, Any]) -> int:
    """Epochs that count. The status is written after the checkpoint: one whose checkpoint is missing comes again."""
    return int((status.get("progress") or {}).get("epoch", 0))


def _living(client: Any, run: RunDirectory, memory: dict[str, Any]) -> dict[str, Any]:
    """The memory of a twin that can be written to: a deleted one is restored, one gone for good is forgotten."""
    if "mlflow_run_id" not in memory:
        return memory
    info = _found(client, memory["mlflow_run_id"])
    if info is None:
        log.warning("MLflow has no run for %s any more; it gets a new one with all that was told", run.id)
        return {}
    if info.lifecycle_stage == DELETED:
        _restore(client, info)
        log.warning("MLflow had %s among its deleted runs; it was restored, since it has something to tell", run.id)
    return memory | {"experiment_id": info.experiment_id}


def _found(client: Any, twin: str) -> Any:
    """What MLflow knows of a run of its own; None when it knows none of that id."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(twin).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _restore(client: Any, info: Any) -> None:
    """Takes a run, and the experiment it is in, back from MLflow's deleted ones."""
    experiment = client.get_experiment(info.experiment_id)
    if experiment.lifecycle_stage == DELETED:
        _restore_experiment(client, experiment)
    if client.get_run(info.run_id).info.lifecycle_stage == DELETED:
        client.restore_run(info.run_id)


def _begun(client: Any, workspace: Workspace, run: RunDirectory, memory: dict[str, Any]) -> dict[str, Any]:
    """The memory of a new twin; of the old one where it was made and only the answer was lost."""
    mark = memory.get("birth")
    if mark is None:
        mark = secrets.token_hex(8)
        _remember(run, {"birth": mark})
    twin, experiment = _create(client, workspace, run, mark)
    begun = {"mlflow_run_id": twin, "experiment_id": experiment, "epochs": 0, "state": None, "files": ""}
    _remember(run, begun)
    return begun


def _create(client: Any, workspace: Workspace, run: RunDirectory, mark: str) -> tuple[str, str]:
    """Ids of the run's twin, with params and spec, and of its experiment."""
    text = run.spec_file.read_text()
    plan = yaml.safe_load(text)
    if plan.get("kind") == "study":
        # The run that those of a study's trials are nested in.
        experiment = _experiment(client, workspace, plan["experiment"]["data"]["name"])
        tags = {"kd.run": run.id, "kd.study": plan["name"], "mlflow.user": user_name(), "kd.birth": mark}
        twin = _run_of_mark(client, experiment, f"study {plan['name']}", tags)
    else:
        spec = ExperimentSpec.from_yaml(text)
        experiment = _experiment(client, workspace, spec.data.name)
        tags = _tags(run, spec) | _tags_of_parent(client, workspace, run) | {"kd.birth": mark}
        twin = _run_of_mark(client, experiment, spec.title or f"{spec.label()} [{short_id(run.id)}]", tags)
        _log_params(client, twin, spec)
    client.log_artifact(twin, str(run.spec_file))
    return twin, experiment


def _run_of_mark(client: Any, experiment: str, name: str, tags: dict[str, str]) -> str:
    """Id of the run with that mark of birth in the tags, made where there is none."""
    known = client.search_runs([experiment], f"tags.`kd.birth` = '{tags['kd.birth']}'", max_results=1)
    made = known[0] if known else client.create_run(experiment, run_name=name, tags=tags)
    return str(made.info.run_id)


def _tags(run: RunDirectory, spec: ExperimentSpec) -> dict[str, str]:
    return {
        "kd.run": run.id,
        "kd.fingerprint": spec.fingerprint(),
        "kd.method": spec.method.name,
        "kd.student": spec.student.name,
        "kd.teacher": spec.teacher_label() or "none",
        "mlflow.user": user_name(),
        "mlflow.source.name": "kd",
    }


def _tags_of_parent(client: Any, workspace: Workspace, run: RunDirectory) -> dict[str, str]:
    """What nests a trial's run in its study's, which is told first where it was not; {} for other runs."""
    status = run.status()
    if not status.get("study"):
        return {}
    study = workspace.run(status["study"])
    if mlflow_run_id(study) is None and study.exists:
        with files.lock(study.path / ".mlflow.lock"):
            _mirror(client, workspace, study)
    parent = mlflow_run_id(study)
    nested = {"kd.study": study.id, "kd.trial": str(status.get("trial"))}
    return nested | {"mlflow.parentRunId": parent} if parent is not None else {}


def _log_params(client: Any, twin: str, spec: ExperimentSpec) -> None:
    from mlflow.entities import Param

    params = [Param(key, str(value)[:MAX_PARAM]) for key, value in spec.flat().items()]
    for start in range(0, len(params), PARAMS_PER_CALL):
        client.log_batch(twin, params=params[start : start + PARAMS_PER_CALL])


def _experiment(client: Any, workspace: Workspace, name: str) -> str:
    """Id of the experiment of that name, made where it is missing, restored where it was deleted."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = (workspace.mlflow_artifacts / name).as_uri() if own_store() else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except Exception:  # another process made it in this moment
            return str(client.get_experiment_by_name(name).experiment_id)
    if found.lifecycle_stage == DELETED:
        _restore_experiment(client, found)
    return str(found.experiment_id)


def _restore_experiment(client: Any, experiment: Any) -> None:
    client.restore_experiment(experiment.experiment_id)
    log.warning("MLflow had the experiment %r among its deleted ones; it was restored", experiment.name)


def _log_epochs(client: Any, twin: str, run: RunDirectory, done: int, kept: int) -> int:
    from mlflow.entities import Metric

    metrics = []
    for event in run.latest("epoch", "epoch"):
        if done < event["epoch"] <= kept:
            when = int(event["time"] * 1000)
            metrics += [Metric(key, value, when, event["epoch"]) for key, value in _metrics_of(event).items()]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(twin, metrics=metrics[start : start + METRICS_PER_CALL])
    return max(done, kept)


def _log_system(client: Any, twin: str, run: RunDirectory, told: float) -> float:
    """Tells how busy the machine was since the time ``told``, every ten seconds as MLflow's own monitor does; by the
    names that it uses, so that they stand under "System metrics". Returns the time of the last one told."""
    from mlflow.entities import Metric

    metrics = []
    for event in run.events("system"):
        if event["time"] < told + SYSTEM_EVERY_S:
            continue
        told = event["time"]
        values = _system_of(event)
        metrics += [Metric(f"system/{key}", value, int(told * 1000), 0) for key, value in values.items()]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(twin, metrics=metrics[start : start + METRICS_PER_CALL])
    return told


def _system_of(event: dict[str, Any]) -> dict[str, float]:
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

    return MlflowClient(tracking_uri=tracking_uri(workspace))


def _memory(run: RunDirectory) -> dict[str, Any]:
    return files.read_json(run.path / "mlflow.json", {})


def _remember(run: RunDirectory, memory: dict[str, Any]) -> None:
    files.write_json(run.path / "mlflow.json", memory)
