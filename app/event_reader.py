"""The events of a run, read as they are written: each look costs only what is new."""

from __future__ import annotations

from typing import Any

import orjson

from kdengine.workspace.rundir import RunDirectory


class EventReader:
    """Follows events.jsonl; keeps the last word on each epoch and step.

    Args:
        run: whose events.

    Attributes:
        system: how busy the machine was, as the events came.
        unreadable: lines that are no events.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._offset = 0
        self._epochs: dict[int, dict[str, Any]] = {}
        self._steps: dict[int, dict[str, Any]] = {}
        self._sorted: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
        self.system: list[dict[str, Any]] = []
        self.unreadable = 0

    def catch_up(self) -> None:
        """Reads what was written since the last call; a line that is not yet whole is left for the next."""
        try:
            with self.run.events_file.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(line)
        except FileNotFoundError:
            return

    @property
    def unread(self) -> int:
        """Bytes that were not read yet."""
        try:
            return self.run.events_file.stat().st_size - self._offset
        except FileNotFoundError:
            return 0

    def _take(self, line: bytes) -> None:
        try:
            event = orjson.loads(line)
            if event["kind"] == "system":
                self.system.append(event | {"time": float(event["time"])})
                return
            places = {"epoch": self._epochs, "step": self._steps}
            if event["kind"] in places:
                places[event["kind"]][int(event[event["kind"]])] = event
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            self.unreadable += bool(line.strip())
            return
        self._sorted = None

    def events(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The last word on each epoch, and on each step, in order."""
        if self._sorted is None:
            epochs, steps = ([known[key] for key in sorted(known)] for known in (self._epochs, self._steps))
            self._sorted = epochs, steps
        return self._sorted
