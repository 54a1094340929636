"""How long a study has been worked on."""

from __future__ import annotations

import time

from kdengine.workspace.rundir import RunDirectory

COUNT_S = 5.0


class ActiveTime:
    """Hours over all attempts, kept in the status of the study's job.

    Args:
        folder: of that job.
    """

    def __init__(self, folder: RunDirectory) -> None:
        self._folder = folder
        self._last_count = time.monotonic()

    def count(self) -> None:
        """Notes what has passed since the last time, every five seconds."""
        since = time.monotonic() - self._last_count
        if since >= COUNT_S:
            self._last_count += since
            self._folder.update_status(active_s=round(3600 * self.hours + since, 2))

    @property
    def hours(self) -> float:
        """Hours that were noted."""
        return float(self._folder.status().get("active_s") or 0.0) / 3600
