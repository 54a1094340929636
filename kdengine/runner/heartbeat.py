"""The sign that a run's process lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0


@contextmanager
def beating(folder: RunDirectory) -> Iterator[None]:
    """Touches the heartbeat from a thread, so that a step of any length does not look like death."""
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            try:
                folder.beat()
            except OSError as error:
                log.warning("no heartbeat could be written: %s", error)
            done.wait(HEARTBEAT_S)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
