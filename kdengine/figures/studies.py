"""A study drawn: what was best so far, and the curves of its trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kdengine.figures import style

FEW_EPOCHS = 40


class Trial(NamedTuple):
    """What a figure needs of a trial; values as the axis has them."""

    number: int
    state: str
    value: float | None
    curve: dict[int, float]


def history(trials: Sequence[Trial], *, y: str, label: str, default: float | None = None, maximize: bool = True) -> Any:
    """The value of every complete trial, the best so far as a line, and the default's value as another.

    Args:
        trials: in their order; without a value only the axis knows them.
        y: title of the axis, with its unit.
        label: what the figure shows; zoom is kept while it stays the same.
        default: value of the experiment's own settings.
        maximize: whether larger is better.
    """
    import plotly.graph_objects as go

    known = [(trial.number, trial.value) for trial in trials if trial.value is not None]
    if not known:
        return empty("The first point comes with the first complete trial.", f"history-{label}")
    figure = go.Figure(layout=style.layout(x="trial", y=y, key=f"history-{label}"))
    x, values = [number for number, _ in known], [value for _, value in known]
    best = [(max if maximize else min)(values[: count + 1]) for count in range(len(values))]
    ends = [-0.5, max(trial.number for trial in trials) + 0.5]
    figure.add_scatter(
        x=x, y=values, name="trials", mode="markers", marker={"color": style.GREY, "size": 7}, hovertemplate="%{y:.4g}"
    )
    figure.add_scatter(
        x=[*x, ends[1]], y=[*best, best[-1]], name="best so far", mode="lines",
        line={"color": style.STUDENT, "width": 2, "shape": "hv"}, hovertemplate="%{y:.4g}",
    )  # fmt: skip
    if default is not None:
        figure.add_scatter(
            x=ends, y=[default] * 2, name="default", mode="lines",
            line={"color": style.TEACHER, "dash": "dash", "width": 1.5}, hovertemplate="%{y:.4g}",
        )  # fmt: skip
    figure.update_xaxes(range=ends, **style.whole_numbers(ends[1]))
    return figure


def curves(trials: Sequence[Trial], *, y: str, label: str, best: int | None = None, planned: int | None = None) -> Any:
    """The curves of all trials over epochs; those given up early are grey, the best stands out.

    Args:
        trials: those without a curve are left out.
        y: title of the axis, with its unit.
        label: what the figure shows; zoom is kept while it stays the same.
        best: number of the best trial.
        planned: epochs of a whole trial; the axis shows them all from the start.
    """
    import plotly.graph_objects as go

    drawn = [trial for trial in trials if trial.curve]
    if not drawn:
        return empty("The first curve comes with the end of the first epoch.", f"trials-{label}")
    figure = go.Figure(layout=style.layout(x="epoch", y=y, key=f"trials-{label}", hovermode="closest"))
    kinds = (
        ("pruned", [t for t in drawn if t.state not in ("complete", "running")], style.GREY, 1.0, 0.45),
        ("complete", [t for t in drawn if t.state == "complete" and t.number != best], style.TERMS[4], 1.3, 0.8),
        ("under way", [t for t in drawn if t.state == "running"], style.TERMS[1], 1.6, 1.0),
        (f"best, trial {best}", [t for t in drawn if t.number == best], style.STUDENT, 2.6, 1.0),
    )
    mode = "lines+markers" if max(len(trial.curve) for trial in drawn) < FEW_EPOCHS else "lines"
    for name, group, colour, width, opacity in kinds:
        if group:
            figure.add_scatter(
                **_joined(group), name=name, mode=mode, opacity=opacity,
                line={"color": colour, "width": width}, marker={"color": colour, "size": 4},
                hovertemplate="trial %{text}, epoch %{x}: %{y:.4g}<extra></extra>",
            )  # fmt: skip
    last = planned or max(max(trial.curve) for trial in drawn)
    figure.update_xaxes(**style.whole_numbers(last))
    if planned:
        figure.update_xaxes(range=[0.5 if planned < 10 else 0, planned + 0.5])
    return figure


def _joined(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Many curves as one line with gaps: a hundred lines each of their own make the page slow."""
    joined: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for trial in trials:
        for epoch, value in [*sorted(trial.curve.items()), (None, None)]:
            joined["x"].append(epoch)
            joined["y"].append(value)
            joined["text"].append(trial.number)
    return joined


def empty(words: str, key: str = "empty") -> Any:
    """No figure yet, and what brings it."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="", y="", key=key))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(style.note(words))
    return figure


def shade(share: float) -> str:
    """A colour for 0..1 from the sequential scale of all figures."""
    from plotly.colors import sample_colorscale

    return str(sample_colorscale("Viridis", [min(1.0, max(0.0, share))])[0])
