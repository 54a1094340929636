"""Matrices of classes and of stages as heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdengine.figures import style
from kdengine.figures.pictures import DIVERGING, SEQUENTIAL
from kdengine.figures.seen import Drawing, Seen, Wishes


def matrices(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """A heat map for each matrix; the teacher's own once."""
    found = []
    for run in runs:
        for name, values in run.arrays.items():
            if values.ndim != 2 or (name == "teacher" and run is not runs[0]):
                continue
            title = name.replace("_", " and ") if name.startswith("student_") else name
            found.append(Drawing(f"{run.label}: {title}" if len(runs) > 1 else title, figure=matrix(name, values, run)))
    return found


def matrix(name: str, values: np.ndarray, run: Seen) -> Any:
    """A matrix of classes or stages as a heat map."""
    import plotly.graph_objects as go

    order = run.arrays.get("order")
    by_class = (
        len(values) == len(run.classes) and values.shape[0] == values.shape[1] and not name.startswith("student_")
    )
    counts = np.issubdtype(values.dtype, np.integer)
    if by_class:
        names = [run.classes[int(number)] for number in (order if order is not None else range(len(values)))]
        x, y, titles = names, names, ("answer", "true class") if counts else ("class", "class")
    else:
        x, y = _stage_names(values.shape[1]), _stage_names(values.shape[0])
        titles = (f"{name.rpartition('_')[2]}'s stage", "student's stage")
    figure = go.Figure(layout=style.layout(x=titles[0], y=titles[1], key=f"matrix-{name}", height=400))
    scale: dict[str, Any] = {"colorscale": SEQUENTIAL}
    shown, hover = values.astype(np.float32), "%{y}, %{x}: %{z:.3f}"
    if counts:
        shown = 100 * shown / np.maximum(shown.sum(1, keepdims=True), 1)
        scale |= {"zmin": 0, "zmax": 100, "colorbar": {"title": {"text": "% of row"}}, "customdata": values}
        hover = "%{y} taken for %{x}: %{customdata} (%{z:.1f} %)"
    elif by_class:
        scale = {"colorscale": DIVERGING, "zmid": 0, "zmin": -1, "zmax": 1, "colorbar": {"title": {"text": "r"}}}
    else:
        scale |= {"zmin": 0, "zmax": 1, "texttemplate": "%{z:.2f}", "colorbar": {"title": {"text": "CKA"}}}
    figure.add_heatmap(z=shown, x=x, y=y, hovertemplate=hover + "<extra></extra>", **scale)
    figure.update_xaxes(type="category", constrain="domain")
    figure.update_yaxes(
        type="category", autorange="reversed", scaleanchor="x", constrain="domain", automargin=True, title_standoff=26
    )
    figure.update_layout(hovermode="closest")
    return figure


def _stage_names(count: int) -> list[str]:
    return [*(f"stage {number + 1}" for number in range(count - 1)), "embedding"]
