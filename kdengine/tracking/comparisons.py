"""The tables of a comparison as artifacts in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from kdengine.errors import KdError
from kdengine.tracking.runs import experiment_of
from kdengine.tracking.server import available, client_of, in_words, prepare, reach
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)


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
        with in_words(workspace, f"the tables of {name}"):
            prepare(workspace)
            _log_tables(client_of(workspace), workspace, name, tables)
    except KdError as error:
        log.warning("%s", error)


def _log_tables(client: Any, workspace: Workspace, name: str, tables: Mapping[str, str]) -> None:
    experiment = experiment_of(client, workspace, "comparisons")
    quoted = name.replace("'", "")
    known = client.search_runs([experiment], f"tags.`kd.comparison` = '{quoted}'", max_results=1)
    mlflow_run = known[0] if known else client.create_run(experiment, run_name=name, tags={"kd.comparison": quoted})
    for file, content in tables.items():
        client.log_text(mlflow_run.info.run_id, content, file)
    client.set_terminated(mlflow_run.info.run_id)
