"""All curves of one run under one cursor: accuracy, loss terms, learning rate, throughput."""

from __future__ import annotations

from typing import Any

from kdengine.figures import style
from kdengine.figures.panels import Line, Panel, draw

Event = dict[str, Any]
POINTS = 500
HEIGHT = 620


def run_curves(
    epochs: list[Event],
    steps: list[Event],
    *,
    label: str,
    teacher: float | None = None,
    planned: int | None = None,
    weighted: bool = True,
    smoothing: float = 0.0,
    log: bool = False,
) -> Any:
    """The figure.

    Args:
        epochs, steps: "epoch" and "step" events in order. What is logged by step is drawn by step.
        label: what the figure shows; zoom is kept while it stays the same.
        teacher: the teacher's validation accuracy, 0..1, drawn as a line; None for none.
        planned: epochs the run will have; the axis shows them all from the start.
        weighted: the loss terms times their weights, or as they are.
        smoothing: 0 to below 1, see `panels.smooth`.
        log: whether the axis of the loss is logarithmic.
    """
    kind = "weighted" if weighted else "raw"
    fine = style.thin(steps or epochs, POINTS)
    at = _epochs_of(steps) if steps else None
    x = [event["step"] / at if at else event["epoch"] for event in fine]
    found = [
        Panel("validation accuracy (%)", _accuracy(epochs, teacher, planned), 3),
        Panel(f"loss ({kind})", _terms(fine, x, kind), 3, log),
    ]
    for key, title, hover in (("lr", "learning rate", "%{y:.3g}"), ("images_per_s", "images / s", "%{y:.0f}")):
        values = [event.get(key) for event in fine]
        if any(value is not None for value in values):
            found.append(Panel(title, [Line(title, x, values, style.GREY, hover=hover, smoothed=key != "lr")], 1.3))
    last = float(planned or max([event["epoch"] for event in epochs], default=1))
    figure = draw(found, x="epoch", key=f"run-{label}-{kind}-{log}", height=HEIGHT, last=last, smoothing=smoothing)
    if not epochs:
        figure.add_annotation(style.note("the first accuracy comes with the end of the first epoch") | {"y": 0.85})
    return figure


def _accuracy(epochs: list[Event], teacher: float | None, planned: int | None) -> list[Line]:
    points = style.thin(epochs, POINTS)
    x = [event["epoch"] for event in points]
    y = [100 * event["validation"]["accuracy"] for event in points]
    lines = [Line("student", x, y, style.STUDENT, hover="%{y:.1f} %", marked=True)]
    if teacher is not None:
        ends = [0, max(x[-1] if x else 1, planned or 1)]
        lines.append(
            Line("teacher", ends, [100 * teacher] * 2, style.TEACHER, "dash", hover="%{y:.1f} %", smoothed=False)
        )
    return lines


def _terms(events: list[Event], x: list[float], kind: str) -> list[Line]:
    names = list(events[-1].get("terms") or {}) if events else []
    return [
        Line(
            name.replace("_", " "),
            x,
            [(event.get("terms") or {}).get(name, {}).get(kind) for event in events],
            style.TERMS[index % len(style.TERMS)],
        )
        for index, name in enumerate(names)
    ]


def _epochs_of(steps: list[Event]) -> float:
    """Steps of an epoch: an epoch's last step is its number times as many, and no other step is more."""
    some = style.thin(steps, 3000)  # of a hundred thousand, all would take longer than the drawing
    return max((event["step"] / max(1, event.get("epoch", 1)) for event in some), default=1.0) or 1.0
