"""What is done before anybody waits for it."""

from __future__ import annotations

import logging

from kdengine.starting import importing
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)


def warm(workspace: Workspace) -> None:
    """Imports what the other tasks need, before anybody waits for it."""
    with importing():
        import torchvision  # noqa: F401

        from kdengine import forecast as _  # noqa: F401


def prepare_tracking(workspace: Workspace) -> None:
    """Makes or migrates MLflow's database, so that the first run need not wait for it."""
    from kdengine import tracking

    try:
        tracking.prepare(workspace)
    except Exception as error:
        log.warning("MLflow's database could not be prepared: %s", error)
