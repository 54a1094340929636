"""What is selected on the Inspect page, and the request to the worker that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RECORDED, BY_CLASS, UPLOADED = "recorded", "by class", "mine"


@dataclass(frozen=True)
class Selection:
    """The selection, as plain values; the fields are those of `parts.Form`, in the same order."""

    run: str | None
    other: str | None
    what: str | None
    epoch: int
    best: bool
    source: str
    classes: list[str] | None
    count: int
    files: list[str] | None
    stage: str | None
    arrangement: str
    scale: str
    graph: str | None
    threshold: float

    def request(self, offer: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The request for the task `inspect`, and what the person should know about it."""
        request: dict[str, Any] = {"run": self.run, "with": self.other or None, "what": self.what}
        if self.source == BY_CLASS:
            request |= {"classes": self.classes or [], "count": int(self.count)}
        if self.source == UPLOADED and self.files:
            request |= {"files": list(self.files)}
        made = len(request) > 3 or self.what not in offer["recorded"]
        numbers = offer["weights"] if made else offer["epochs"]
        request["epoch"] = "best" if self.best or not numbers else _nearest(numbers, self.epoch)
        if self.best or request["epoch"] == self.epoch:
            return request, ""
        shown = "the best epoch" if request["epoch"] == "best" else f"epoch {request['epoch']}"
        if not made:
            return request, f"Epoch {self.epoch:.0f} was not recorded during training: showing {shown}."
        note = f"This needs the weights, and those of epoch {self.epoch:.0f} were not kept: showing {shown}."
        return request, note + " The setting Keep epochs keeps more of them."


def _nearest(numbers: list[int], wanted: float) -> int:
    return min(numbers, key=lambda number: abs(number - wanted))
