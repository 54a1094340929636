"""Where MLflow keeps its runs, and whether it can be reached: the one place that imports it."""

from __future__ import annotations

import logging
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from kdengine.errors import KdError
from kdengine.tracking import artifact_paths
from kdengine.workspace import Workspace, files, sqlite_url

log = logging.getLogger(__name__)

VARIABLE = "MLFLOW_TRACKING_URI"
REACH_S = 5.0
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
    workspace.settle(new=True)
    with files.lock(workspace.root / ".mlflow.lock"):
        client_of(workspace).search_experiments(max_results=1)
    artifact_paths.take_home(workspace)


@contextmanager
def in_words(workspace: Workspace, what: str) -> Iterator[None]:
    """Says in one line what MLflow, its database's driver or its client throws."""
    try:
        yield
    except Exception as error:
        first = _without_password((str(error).strip() or type(error).__name__).splitlines()[0])
        raise KdError(f"MLflow at {shown(workspace)} did not take {what} ({first})") from error


def client_of(workspace: Workspace) -> Any:
    """A client of MLflow for the workspace's runs."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(workspace))
