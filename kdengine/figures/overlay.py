"""Curves of several runs on one plot: validation accuracy and loss by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kdengine.figures import style
from kdengine.figures.panels import Line, Panel, draw

MAX_RUNS = 10
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Okabe and Ito's, without those that are hard to see on white; a second round of them is dashed."""
HEIGHT = 520


class RunLine(NamedTuple):
    """A run as it is drawn: what it is called, and its "epoch" events in order."""

    name: str
    epochs: list[dict[str, Any]]


def overlay(runs: Sequence[RunLine], *, smoothing: float = 0.0) -> Any:
    """The figure; each run has one colour and stroke in both panels.

    Args:
        runs: at most `MAX_RUNS`; further ones are left out.
        smoothing: 0 to below 1, see `panels.smooth`.
    """
    shown = list(runs)[:MAX_RUNS]
    accuracy = [_line(number, run, "accuracy", 100.0, "%{y:.1f} %") for number, run in enumerate(shown)]
    loss = [_line(number, run, "loss", 1.0, "%{y:.4f}") for number, run in enumerate(shown)]
    key = "overlay-" + "-".join(run.name for run in shown)
    found = [Panel("validation accuracy (%)", accuracy, 1.3)]
    if any(value is not None for line in loss for value in line.y):
        found.append(Panel("validation loss", loss))
    return draw(found, x="epoch", key=key, height=HEIGHT, smoothing=smoothing)


def _line(number: int, run: RunLine, what: str, scale: float, hover: str) -> Line:
    points = style.thin(run.epochs, 600)
    values = [(event.get("validation") or {}).get(what) for event in points]
    y = [None if value is None else scale * value for value in values]
    dash = "solid" if number < len(COLOURS) else "dash"
    x = [event["epoch"] for event in points]
    return Line(run.name, x, y, COLOURS[number % len(COLOURS)], dash, hover, marked=True)
