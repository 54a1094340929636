"""A thread that keeps a supervisor at work for as long as a page is served: it can die at any time, and comes back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from kdengine.errors import KdError
from kdengine.jobs.supervision import ensure_supervisor
from kdengine.workspace import Workspace
from kdengine.workspace.identity import home_identity

log = logging.getLogger(__name__)

EVERY_S = 3.0
LEAVE_WAIT_S = 1.0


class Keeper:
    """Looks every few seconds whether the supervisor lives, and starts one where it does not.

    Args:
        workspace: whose supervisor.
        every_s: seconds between two looks; each costs well under a millisecond.
        argv: how to start one, see `ensure_supervisor`.
    """

    def __init__(self, workspace: Workspace, every_s: float = EVERY_S, argv: Sequence[str] | None = None) -> None:
        self.workspace = workspace
        self.every_s = every_s
        self.argv = argv
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="supervisor-keeper", daemon=True)

    def start(self) -> None:
        """Begins; the workspace must exist."""
        self._home = home_identity(self.workspace.root)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; the supervisor goes on."""
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_WAIT_S)

    def _keep(self) -> None:
        said = ""
        while not self._leaving.wait(self.every_s):
            if home_identity(self.workspace.root) != self._home:
                log.warning("%s was moved or deleted; start the page again at its new place", self.workspace.root)
                return
            try:
                ensure_supervisor(self.workspace, self.argv)
                said = ""
            except (KdError, OSError) as error:  # a full disk, for one: the next look tries again
                if str(error) != said:
                    log.warning("no supervisor could be started: %s", error)
                said = str(error)
