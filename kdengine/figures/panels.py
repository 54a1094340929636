"""Lines in panels above each other, on one x-axis with one cursor; each line is labelled where it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdengine.figures import style

LABEL_PX = 15
"""Height of a label; two are never closer."""
TITLE_PX = 26
"""Height of a panel's title, which stands above it."""
MARGIN = {"l": 54, "t": TITLE_PX, "b": 42}
MODEBAR = {
    "bgcolor": "rgba(0,0,0,0)", "color": style.GREY, "activecolor": style.STUDENT,
    "remove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "pan2d", "autoScale2d"],
}  # fmt: skip
"""Few buttons, and nothing behind them: they stand over the labels."""
CHARACTER_PX, MAX_LABEL = 6.6, 22
FEW_POINTS = 40

Number = float | None


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        name: its label, and its name under the cursor.
        x, y: its points; None where there is no value.
        colour: of the line and of the mark before its label.
        dash: Plotly's name of its strokes.
        hover: how its values are written under the cursor.
        smoothed: whether `smooth` applies; the values themselves are then drawn faintly behind.
        marked: whether its points are marked, while they are few.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Number]
    colour: str
    dash: str = "solid"
    hover: str = "%{y:.4g}"
    smoothed: bool = True
    marked: bool = False


@dataclass(frozen=True)
class Panel:
    """One y-axis with its lines.

    Attributes:
        title: of the axis, with units.
        lines: what is drawn.
        share: how high it is, relative to the others.
        log: whether the axis is logarithmic, where all its values are above zero.
    """

    title: str
    lines: Sequence[Line]
    share: float = 1.0
    log: bool = field(default=False)


def draw(
    panels: Sequence[Panel], *, x: str, key: str, height: int, last: float | None = None, smoothing: float = 0.0
) -> Any:
    """The figure.

    Args:
        panels: from the top down, at least one.
        x: title of the x-axis.
        key: what the figure shows; zoom is kept while it stays the same.
        height: pixels.
        last: where the x-axis ends; by default with the lines.
        smoothing: weight of what came before, 0 (none) to below 1, see `smooth`.
    """
    import plotly.graph_objects as go

    names = [line.name for panel in panels for line in panel.lines]
    right = 14 + CHARACTER_PX * min(MAX_LABEL + 2, max(map(len, names), default=0) + 2)
    bottom = f"y{len(panels)}" if len(panels) > 1 else "y"
    layout = style.layout(x=x, y="", key=key, height=height, margin={"r": right, **MARGIN})
    figure = go.Figure(layout=layout | {"showlegend": False, "hoversubplots": "axis", "modebar": MODEBAR})
    ends = [line.x[-1] for panel in panels for line in panel.lines if len(line.x)]
    end = last or max(ends, default=1.0)
    figure.update_xaxes(anchor=bottom, range=[0, end * 1.01], **style.whole_numbers(end))
    inner = height - MARGIN["t"] - MARGIN["b"]
    gap = TITLE_PX / inner
    top, scale = 1.0, (1 - gap * (len(panels) - 1)) / sum(panel.share for panel in panels)
    for number, panel in enumerate(panels, 1):
        low = max(0.0, top - panel.share * scale)
        axis = "y" if number == 1 else f"y{number}"
        _draw_panel(figure, panel, axis, (low, top), inner, smoothing)
        top = low - gap
    figure.update_xaxes(unifiedhovertitle={"text": f"{x} %{{x:.4~g}}"})
    return figure


def smooth(values: Sequence[Number], weight: float) -> list[Number]:
    """Exponential moving average, corrected for its start; None stays None.

    Args:
        values: in order.
        weight: of the average so far, from 0 (nothing changes) to below 1.
    """
    mean, count, found = 0.0, 0, list[Number]()
    for value in values:
        if value is None or not math.isfinite(value):
            found.append(value)
            continue
        count += 1
        mean = weight * mean + (1 - weight) * value
        found.append(mean / (1 - weight**count))
    return found


def apart(wanted: Sequence[float], least: float) -> list[float]:
    """Places from 0 to 1 as near as possible to those wanted, in their order, with at least ``least`` in between.

    Where they do not all fit they are spread evenly.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    least = min(least, 1 / max(1, len(wanted) - 1))
    places = [min(1.0, max(0.0, wanted[index])) for index in order]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + least)
    over = 1.0
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], over)
        over = places[index] - least
    found = [0.0] * len(wanted)
    for place, index in zip(places, order, strict=True):
        found[index] = place
    return found


def _draw_panel(
    figure: Any, panel: Panel, axis: str, domain: tuple[float, float], inner: float, smoothing: float
) -> None:
    values = [v for line in panel.lines for v in line.y if v is not None and math.isfinite(v)]
    log = panel.log and bool(values) and min(values) > 0
    low, high = _range(values, log)
    attributes = {
        "domain": list(domain), "anchor": "x", "gridcolor": style.GRID,
        "zeroline": False, "linecolor": style.GRID, "automargin": False, "type": "log" if log else "linear",
        "range": [low, high], "nticks": 6, "exponentformat": "power",
    }  # fmt: skip
    figure.update_layout({axis.replace("y", "yaxis"): attributes})
    figure.add_annotation(
        text=f"<b>{panel.title}</b>", x=0, xref="paper", xanchor="left", y=domain[1], yref="paper", yanchor="bottom",
        yshift=4, showarrow=False, font={"size": 12},
    )  # fmt: skip
    for line in panel.lines:
        _draw_line(figure, line, axis, smoothing)
    ended = [(line, end) for line in panel.lines if (end := _end(line, smoothing)) is not None]
    places = [(_scaled(end, log) - low) / (high - low) for _, end in ended]
    places = apart(places, LABEL_PX / max(1.0, inner * (domain[1] - domain[0])))
    for (line, _), place in zip(ended, places, strict=True):
        figure.add_annotation(
            text=f'<span style="color:{line.colour}">{"╌" if line.dash != "solid" else "━"}</span> {_short(line.name)}',
            x=1, xref="paper", xanchor="left", xshift=4, y=low + place * (high - low), yref=axis, showarrow=False,
            font={"size": 12},
        )  # fmt: skip


def _draw_line(figure: Any, line: Line, axis: str, smoothing: float) -> None:
    soft = smoothing > 0 and line.smoothed
    mode = "lines+markers" if line.marked and len(line.x) < FEW_POINTS else "lines"
    drawn = {"color": line.colour, "width": 2, "dash": line.dash}
    if soft:
        figure.add_scatter(
            x=line.x, y=line.y, name=_plain(line.name), yaxis=axis, mode="lines", opacity=0.28, hoverinfo="skip",
            line=drawn | {"width": 1},
        )  # fmt: skip
    y = smooth(line.y, smoothing) if soft else line.y
    figure.add_scatter(
        x=line.x,
        y=y,
        name=_plain(line.name),
        yaxis=axis,
        mode=mode,
        line=drawn,
        marker={"size": 5},
        hovertemplate=line.hover,
    )


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Ends of the axis, a little beyond the values; of a logarithmic one in powers of ten."""
    if not values:
        return 0.0, 1.0
    low, high = _scaled(min(values), log), _scaled(max(values), log)
    beyond = 0.06 * (high - low) or abs(high) * 0.1 or 0.5
    return low - beyond, high + beyond


def _scaled(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _end(line: Line, smoothing: float) -> float | None:
    values = smooth(line.y, smoothing) if line.smoothed and smoothing > 0 else line.y
    return next((value for value in reversed(values) if value is not None and math.isfinite(value)), None)


def _short(name: str) -> str:
    return _plain(name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…")


def _plain(name: str) -> str:
    """Plotly reads tags in what it writes: a name may hold none."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
