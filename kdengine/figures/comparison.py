"""Gains of several arms over one, as points with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kdengine.figures import style

HELPS = "#009e73"
HURTS = "#d55e00"


def gains(arms: Sequence[dict[str, Any]], to: str = "the student alone") -> Any:
    """A row for each arm: mean difference and 95 % interval, in points; the line at zero is the arm compared with.

    Args:
        arms: each with name, mean, low, high, n and verdict; an infinite interval is drawn as the point alone.
        to: what the differences are to.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    height = 110 + 30 * max(1, len(arms))
    figure.update_layout(
        style.layout(x=f"test accuracy minus {to} (points)", y="", key="gains", height=height, hovermode="closest")
    )
    figure.update_layout(showlegend=False)
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1, "dash": "dot"})
    if not arms:
        figure.add_annotation(style.note("No two runs to compare yet"))
        return figure
    for arm in reversed(arms):
        known = math.isfinite(arm["low"]) and math.isfinite(arm["high"])
        error = {
            "type": "data",
            "symmetric": False,
            "array": [arm["high"] - arm["mean"] if known else 0],
            "arrayminus": [arm["mean"] - arm["low"] if known else 0],
            "thickness": 2,
        }
        figure.add_scatter(
            x=[arm["mean"]], y=[arm["name"]], error_x=error, mode="markers",
            marker={"size": 9, "color": _colour(arm["verdict"])}, name=arm["name"],
            hovertemplate=f"%{{y}}: %{{x:+.2f}}, n = {arm['n']}<br>{arm['verdict']}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(showgrid=False)
    return figure


def _colour(verdict: str) -> str:
    return {"helps": HELPS, "hurts": HURTS}.get(verdict, style.GREY)
