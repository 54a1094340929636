"""Asking a run to stop: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kdengine.errors import Stopped
from kdengine.jobs.failures import causes


def asked_to_stop(error: BaseException) -> BaseException | None:
    """The signal among an error's causes: it may come while a file is read, and be taken for a fault of that file."""
    return next((cause for cause in causes(error) if isinstance(cause, Stopped | KeyboardInterrupt)), None)


class StopRequest:
    """Ctrl-C and SIGTERM: while training, asked for after each step; at other times they end the run at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.polite = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def raise_stopped(self) -> None:
        """Ends the run; called once the checkpoint is written."""
        raise Stopped(self.signal or signal.SIGTERM)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals for a while; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        asked_before = self.signal is not None
        self.signal = number
        if not self.polite or (asked_before and number == signal.SIGINT):
            raise Stopped(number)
