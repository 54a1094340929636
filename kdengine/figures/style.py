"""One look for all figures: colours safe for colour-blind eyes, axis titles, no decoration, light and dark."""

from __future__ import annotations

from typing import Any

STUDENT = "#2563eb"
TEACHER = "#b45309"
TERMS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#f0e442")
"""Okabe and Ito's palette, in the order loss terms and classes take it."""

FEW = 12
"""Up to here every whole number has its tick; beyond, Plotly chooses, and chooses whole ones."""

GREY = "#8a8f98"
GRID = "rgba(138, 143, 152, 0.22)"


def layout(*, x: str, y: str, key: str, height: int = 300, **more: Any) -> dict[str, Any]:
    """Layout shared by all figures.

    Args:
        x, y: axis titles with units.
        key: what the figure shows; while it stays the same, a reader's zoom is kept.
        height: pixels.
        more: further layout attributes.
    """
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    return {
        "template": "none",
        "uirevision": key,
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": GREY},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": axis | {"title": {"text": x}},
        "yaxis": axis | {"title": {"text": y}},
        "hovermode": "x unified",
        "hoverlabel": {"font": {"color": "#1f2328"}, "bgcolor": "#ffffff"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": STUDENT},
    } | more


def whole_numbers(last: float) -> dict[str, Any]:
    """Attributes of an axis that counts up to ``last``: no ticks between whole numbers, where there are few of them."""
    return {"tickformat": "d", "dtick": 1 if last <= FEW else None}


def note(text: str) -> dict[str, Any]:
    """A line of text in the middle of an empty plot."""
    return {"text": text, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}


def thin(values: list[Any], most: int = 1500) -> list[Any]:
    """At most ``most`` of the values, evenly spread, the last one always among them."""
    if len(values) <= most:
        return values
    stride = (len(values) - 1) / (most - 1)
    return [values[round(index * stride)] for index in range(most)]
