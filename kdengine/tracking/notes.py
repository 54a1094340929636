"""What a run's folder notes of its run in MLflow."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kdengine.errors import DamagedFile
from kdengine.workspace import files
from kdengine.workspace.rundir import RunDirectory


def mlflow_run_id(run: RunDirectory) -> str | None:
    """Id of the run's MLflow run, None before the first mirroring."""
    return memory_of(run).get("mlflow_run_id")


def address(run: RunDirectory) -> str | None:
    """Where MLflow's own page shows the run, behind its ``#``; None before the first mirroring or for damaged notes."""
    with suppress(DamagedFile):
        memory = memory_of(run)
        if memory.get("experiment_id"):
            return f"/experiments/{memory['experiment_id']}/runs/{memory['mlflow_run_id']}"
    return None


def memory_of(run: RunDirectory) -> dict[str, Any]:
    """What was noted at the last mirroring; {} before the first. Raises DamagedFile."""
    found: dict[str, Any] = files.read_json(run.path / "mlflow.json", {})
    return found


def remember(run: RunDirectory, memory: dict[str, Any]) -> None:
    """Notes how far the mirror has come."""
    files.write_json(run.path / "mlflow.json", memory)
