"""What there is to draw of a run, how it is wanted, and what comes of it: shared by everything that looks inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kdengine.figures import style

Arrays = dict[str, np.ndarray]

SIDE_BY_SIDE, DIFFERENCE = "side by side", "difference"
SHARED, OWN = "shared", "own"
WHO = {"student": style.STUDENT, "teacher": style.TEACHER}


@dataclass(frozen=True, eq=False)
class Seen:
    """What there is to draw of one run at one epoch.

    Attributes:
        label: what the run is called.
        arrays: of one panel.
        pixels: uint8 (N, S, S, 3), the images they belong to.
        labels: (N,) classes, -1 for unknown.
        classes: their names.
        captions: what arrays show, by name without the stage.
        history: numbers over the epochs that were looked at: "epochs" (E,) and others (E,).
        measure: what these numbers are.
        epoch: the one shown; None for best or last.
        predictions: ``<who>`` (N,), the predicted class, and ``<who>_confidence`` (N,); {} where nobody knows.
    """

    label: str
    arrays: Arrays
    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    captions: dict[str, str] = field(default_factory=dict)
    history: Arrays = field(default_factory=dict)
    measure: str = "value"
    epoch: int | None = None
    predictions: Arrays = field(default_factory=dict)

    def first(self, count: int) -> Seen:
        """The same of the first ``count`` images alone."""
        total = len(self.pixels)
        few = {
            name: values[:count] if values.ndim and len(values) == total else values
            for name, values in self.arrays.items()
        }
        return replace(
            self, arrays=few, pixels=self.pixels[:count], labels=self.labels[:count],
            predictions={name: values[:count] for name, values in self.predictions.items()},
        )  # fmt: skip

    def class_of(self, number: int) -> str:
        """Name of an image's class; "" when nobody knows."""
        label = int(self.labels[number]) if number < len(self.labels) else -1
        return self.classes[label] if 0 <= label < len(self.classes) else ""


@dataclass(frozen=True, eq=False)
class Wishes:
    """How it is to be drawn.

    Attributes:
        stage: of which stage or exit, where there are too many maps for one grid; None = the deepest.
        arrangement: `SIDE_BY_SIDE` or `DIFFERENCE`, for two runs.
        threshold: edges below this share of the strongest are left out, 0..1.
        scale: `SHARED`, one scale of an image's maps for both runs, or `OWN`, each map its own.
        for_page: tiles as HTML with their values, instead of one SVG.
        graph: name of the graph without ``_student`` or ``_teacher``; None = the method's own, else the embedding's.
        places: (N, 2), where the images stand in a graph; (N, 2) by network name for `plane`, to turn points towards.
    """

    stage: int | None = None
    arrangement: str = SIDE_BY_SIDE
    threshold: float = 0.25
    graph: str | None = None
    scale: str = SHARED
    for_page: bool = False
    places: np.ndarray | None = None
    anchors: Arrays = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Drawing:
    """One image of a panel: an SVG document, tiles as HTML, or a Plotly figure."""

    title: str
    svg: str = ""
    html: str = ""
    figure: Any = None
    note: str = ""


def arrays_of(runs: list[Seen]) -> Arrays:
    """What is drawn, as one file of arrays: those of the first run, of a second as "other/name", and the images."""
    found: Arrays = {"pixels": runs[0].pixels, "labels": runs[0].labels}
    for prefix, run in zip(("", "other/"), runs, strict=False):
        found |= {prefix + name: values for name, values in (run.arrays or run.history).items()}
    return found


def of_networks(runs: list[Seen], needed: Callable[[str], str]) -> list[tuple[Seen, str, str, str]]:
    """(run, network, label, dash) of all that have an array: a teacher is drawn once, a second run is dashed."""
    found = []
    for number, run in enumerate(runs):
        for who in WHO:
            if needed(who) in run.arrays and not (who == "teacher" and number):
                label = who if len(runs) == 1 or who == "teacher" else run.label
                found.append((run, who, label, "dash" if number else "solid"))
    return found
