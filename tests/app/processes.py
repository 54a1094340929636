"""In place of the process behind a page, for tests of which task is called and not of what it computes."""

from __future__ import annotations

from typing import Any


class StandInWorker:
    """Records the calls, and returns the results that the test has prepared.

    Attributes:
        calls: (task, arguments...) in their order.
        results: by task; an exception is raised.
    """

    def __init__(self, **results: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.results: dict[str, Any] = results

    def call(self, task: str, *arguments: Any) -> Any:
        """As `app.worker.Worker.call`."""
        self.calls.append((task, *arguments))
        result = self.results[task]
        if isinstance(result, Exception):
            raise result
        return result
