"""The event handlers of the Begin page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from app import ready
from app.board import Board
from app.families import families
from app.pages.begin import cards
from app.worker import Worker
from kdengine.errors import KdError

KEPT_S = 600.0
"""So long an estimate counts: what else the machine does, which decides it, changes."""


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        board: what is known of the runs.
        worker: measures what the experiments cost.
        clock: seconds.
    """

    def __init__(self, board: Board, worker: Worker, clock: Callable[[], float] = time.monotonic) -> None:
        self.board = board
        self.worker = worker
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, float | None]] = {}

    def last_used(self) -> str:
        """The last runs, the newest first."""
        rows = sorted(self.board.rows(), key=lambda row: row.submitted, reverse=True)
        return cards.last_used(rows, families(rows).names)

    def estimate(self) -> Iterator[str]:
        """What the experiments take on this machine, one after the other, measured again after `KEPT_S`."""
        for name, each in ready.ALL.items():
            with self._lock:  # of several open pages one measures
                if name not in self._known or self._clock() - self._known[name][0] > KEPT_S:
                    self._known[name] = (self._clock(), self._measured(each))
                found = {known: seconds for known, (_, seconds) in self._known.items()}
            yield cards.minutes(found)

    def _measured(self, each: ready.Ready) -> float | None:
        try:
            found = self.worker.call("forecast", each.spec.to_yaml())
        except KdError:
            return None
        return float(found["seconds"] + found["teacher_seconds"])
