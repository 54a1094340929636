"""A mirror of the run's folder in MLflow.

The run's own files are the truth. `mirror` copies what is new since the last call, so that it can be called after each
checkpoint by the trainer and, when that was killed, by the supervisor; a value is logged with its event's time, and
MLflow keeps one row for equal (key, step, time), so that nothing is ever counted twice. How far MLflow's run has come
is in the run's ``mlflow.json``, from which `behind` sees what is owed. Who calls `mirror`, and when: `mirroring`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from kdengine.processes import user_name
from kdengine.spec import ExperimentSpec
from kdengine.tracking import artifact_paths
from kdengine.tracking.notes import memory_of, mlflow_run_id, remember
from kdengine.tracking.server import available, client_of, in_words, own_store, prepare, reach
from kdengine.tracking.values import log_epochs, log_outcome, log_params, log_system, set_state
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory, short_id
from kdengine.workspace.states import State

log = logging.getLogger(__name__)

DELETED = "deleted"


def mirror(workspace: Workspace, run: RunDirectory) -> None:
    """Brings the run's MLflow run up to date: params, new metrics, state; at the end the files and figures too.

    What MLflow has deleted meanwhile is restored. Nothing is done for a run whose folder is gone, or without MLflow.

    Raises:
        Unreachable: the server does not respond.
        KdError: MLflow did not take it. In both cases nothing is lost: the next call catches up.
    """
    if not available() or not run.exists:
        return
    reach(workspace)
    with in_words(workspace, f"the numbers of {run.id}"), files.lock(run.path / ".mlflow.lock"):
        if own_store():
            if workspace.mlflow_db.exists() and mlflow_run_id(run):
                artifact_paths.take_home(workspace)
            else:
                prepare(workspace)
        _mirror(client_of(workspace), workspace, run)


def behind(run: RunDirectory) -> bool:
    """Whether MLflow lacks something of the run; read from its files alone.

    Raises DamagedFile when ``mlflow.json`` is damaged.
    """
    status = run.status()
    state = status.get("state")
    if "damaged" in status or state in (None, State.QUEUED):
        return False
    memory = memory_of(run)
    epochs = max(memory.get("epochs", 0), _epochs_of(status))
    if (memory.get("epochs", 0), memory.get("state")) != (epochs, state):
        return True
    return State(state).ended and memory.get("files") != f"{state}-{epochs}"


# one run -------------------------------------------------------------------------------------------------------------
def _mirror(client: Any, workspace: Workspace, run: RunDirectory) -> None:
    memory = _living(client, run, memory_of(run))
    if "mlflow_run_id" not in memory:
        memory = _begun(client, workspace, run, memory)
    mlflow_run = memory["mlflow_run_id"]
    # Read once: what is written of the epochs and of the state must not lie a moment apart.
    status = run.status()
    state = State(status["state"])
    epochs = log_epochs(client, mlflow_run, run, memory["epochs"], _epochs_of(status))
    logged_until = log_system(client, mlflow_run, run, float(memory.get("system") or 0.0))
    if state.ended and memory["files"] != f"{state}-{epochs}":
        log_outcome(client, mlflow_run, run, status)
        memory["files"] = f"{state}-{epochs}"
    if memory["state"] != state:
        set_state(client, mlflow_run, state)
    remember(run, memory | {"epochs": epochs, "state": str(state), "system": logged_until})


def _epochs_of(status: Mapping[str, Any]) -> int:
    """Epochs that count. The status is written after the checkpoint: one whose checkpoint is missing comes again."""
    return int((status.get("progress") or {}).get("epoch", 0))


def _living(client: Any, run: RunDirectory, memory: dict[str, Any]) -> dict[str, Any]:
    """The memory of an MLflow run that can be written to: a deleted one is restored, one gone for good is forgotten."""
    if "mlflow_run_id" not in memory:
        return memory
    info = found_run(client, memory["mlflow_run_id"])
    if info is None:
        log.warning("MLflow has no run for %s any more; it gets a new one with all that was logged", run.id)
        return {}
    if info.lifecycle_stage == DELETED:
        _restore(client, info)
        log.warning("MLflow had %s among its deleted runs; it was restored, since there is more to log", run.id)
    return memory | {"experiment_id": info.experiment_id}


def found_run(client: Any, mlflow_run: str) -> Any:
    """What MLflow knows of a run of its own; None when it knows none of that id."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(mlflow_run).info
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
    """The memory of a new MLflow run; of the old one where it was made and only the reply was lost."""
    mark = memory.get("birth")
    if mark is None:
        mark = secrets.token_hex(8)
        remember(run, {"birth": mark})
    mlflow_run, experiment = _create(client, workspace, run, mark)
    begun = {"mlflow_run_id": mlflow_run, "experiment_id": experiment, "epochs": 0, "state": None, "files": ""}
    remember(run, begun)
    return begun


def _create(client: Any, workspace: Workspace, run: RunDirectory, mark: str) -> tuple[str, str]:
    """Ids of the run's MLflow run, with params and spec, and of its experiment."""
    text = run.spec_file.read_text()
    plan = files.read_yaml(text)
    if kind := plan.get("kind"):
        # The run that those of a study's trials are nested in; or the job that steers a race.
        experiment = experiment_of(client, workspace, plan["experiment"]["data"]["name"])
        tags = {"kd.run": run.id, f"kd.{kind}": plan["name"], "mlflow.user": user_name(), "kd.birth": mark}
        mlflow_run = _run_of_mark(client, experiment, f"{kind} {plan['name']}", tags)
    else:
        spec = ExperimentSpec.from_yaml(text)
        experiment = experiment_of(client, workspace, spec.data.name)
        tags = _tags(run, spec) | _tags_of_parent(client, workspace, run) | {"kd.birth": mark}
        mlflow_run = _run_of_mark(client, experiment, spec.title or f"{spec.label()} [{short_id(run.id)}]", tags)
        log_params(client, mlflow_run, spec)
    client.log_artifact(mlflow_run, str(run.spec_file))
    return mlflow_run, experiment


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
    """What nests a trial's run in its study's, which is mirrored first where it was not; {} for other runs."""
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


def experiment_of(client: Any, workspace: Workspace, name: str) -> str:
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
