"""Curves of a run, each by itself: accuracy against the teacher's line, loss terms, how busy the machine was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdengine.figures import style

Event = dict[str, Any]


def accuracy(epochs: list[Event], *, label: str, teacher: float | None = None, planned: int | None = None) -> Any:
    """Validation accuracy in percent over epochs.

    Args:
        epochs: "epoch" events in order.
        label: what the figure shows; zoom is kept while it stays the same.
        teacher: the teacher's validation accuracy, 0..1, drawn as a line; None for none.
        planned: epochs the run will have; the axis shows them all from the start.
    """
    import plotly.graph_objects as go

    points = style.thin(epochs)
    figure = go.Figure(layout=style.layout(x="epoch", y="validation accuracy (%)", key=f"accuracy-{label}"))
    x = [event["epoch"] for event in points]
    y = [100 * event["validation"]["accuracy"] for event in points]
    figure.update_xaxes(**style.whole_numbers(planned or max(x, default=1)))
    if planned:
        figure.update_xaxes(range=[0, planned + 0.5])
    if teacher is not None:
        ends = [0, max(x[-1] if x else 1, planned or 1)]
        figure.add_scatter(
            x=ends, y=[100 * teacher] * 2, name="teacher", mode="lines",
            line={"color": style.TEACHER, "dash": "dash", "width": 1.5}, hovertemplate="%{y:.1f} %",
        )  # fmt: skip
    if not x:
        figure.update_yaxes(range=[0, 100])
        figure.add_annotation(style.note("the first value comes with the end of the first epoch"))
    mode = "lines+markers" if len(x) < 40 else "lines"
    figure.add_scatter(
        x=x, y=y, name="student", mode=mode, line={"color": style.STUDENT, "width": 2}, hovertemplate="%{y:.1f} %"
    )
    return figure


def loss_terms(events: list[Event], *, weighted: bool, label: str = "") -> Any:
    """Each loss term, raw or as it enters the sum, over epochs or steps.

    Args:
        events: "epoch" or "step" events in order, all of one kind.
        weighted: times its weight, or as it is.
        label: what the figure shows; zoom is kept while it stays the same.
    """
    import plotly.graph_objects as go

    by_step = bool(events) and events[0]["kind"] == "step"
    points = style.thin(events)
    x = [event["step" if by_step else "epoch"] for event in points]
    names = list(points[-1]["terms"]) if points else []
    key = "weighted" if weighted else "raw"
    figure = go.Figure(
        layout=style.layout(x="step" if by_step else "epoch", y=f"loss ({key})", key=f"loss-{label}-{key}-{by_step}")
    )
    if x:
        figure.update_xaxes(**style.whole_numbers(x[-1]))
    for index, name in enumerate(names):
        figure.add_scatter(
            x=x, y=[event["terms"].get(name, {}).get(key) for event in points],
            mode="lines", name=name.replace("_", " "),
            line={"color": style.TERMS[index % len(style.TERMS)], "width": 1.8}, hovertemplate="%{y:.4f}",
        )  # fmt: skip
    return figure


def system(events: list[Event], *, label: str = "") -> Any:
    """How busy GPU and machine were, in percent, over the minutes since the run began.

    Args:
        events: "system" events in order (`kdengine.machine.sampling`); without a GPU its two lines are left out.
        label: what the figure shows; zoom is kept while it stays the same.
    """
    import plotly.graph_objects as go

    points = style.thin(events)
    figure = go.Figure(layout=style.layout(x="minutes", y="in use (%)", key=f"system-{label}", height=240))
    figure.update_yaxes(range=[0, 101])
    begin = points[0]["time"] if points else 0.0
    x = [(event["time"] - begin) / 60 for event in points]
    lines = {name: [_percent(read, event) for event in points] for name, read in _SYSTEM.items()}
    for index, (name, y) in enumerate(lines.items()):
        if any(value is not None for value in y):
            figure.add_scatter(
                x=x, y=y, name=name, mode="lines" if len(x) > 1 else "markers",
                line={"color": style.TERMS[index], "width": 1.5}, hovertemplate="%{y:.0f} %",
            )  # fmt: skip
    return figure


_SYSTEM: dict[str, Callable[[Event], float]] = {
    "GPU": lambda event: event["gpu"]["use"],
    "GPU memory": lambda event: event["gpu"]["used"] / event["gpu"]["total"],
    "CPU": lambda event: event["cpu"],
    "memory": lambda event: event["ram_used"] / event["ram_total"],
    "disk": lambda event: 1 - event["disk_free"] / event["disk_total"],
}


def _percent(read: Callable[[Event], float], event: Event) -> float | None:
    """None for what the event does not hold: a machine without GPU, or one that does not say."""
    try:
        return 100 * read(event)
    except (KeyError, TypeError, ZeroDivisionError):
        return None
