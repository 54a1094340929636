"""Matrices of classes and of stages as heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdengine.figures import style
from kdengine.figures.images import DIVERGING, SEQUENTIAL
from kdengine.figures.seen import DIFFERENCE, Arrays, Drawing, Seen, Wishes


def matrices(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """A heat map for each matrix, the teacher's own once; or one for the difference of each that both runs have."""
    if len(runs) == 2 and wishes.arrangement == DIFFERENCE:
        return _differences(runs[0], runs[1])
    found = []
    for run in runs:
        for name, values in run.arrays.items():
            if values.ndim != 2 or (name == "teacher" and run is not runs[0]):
                continue
            title = name.replace("_", " and ") if name.startswith("student_") else name
            found.append(Drawing(f"{run.label}: {title}" if len(runs) > 1 else title, figure=matrix(name, values, run)))
    return found


def _differences(first: Seen, second: Seen) -> list[Drawing]:
    found = []
    theirs = _in_order_of(first, second)
    note = "Red = more in the first run, blue = more in the second, white = no difference."
    for name, values in first.arrays.items():
        other = theirs.get(name)
        if values.ndim != 2 or other is None or other.shape != values.shape or name in ("teacher", "difference"):
            continue
        figure = matrix(name, _as_drawn(values) - _as_drawn(other), first, apart=True)
        found.append(Drawing(f"{first.label} minus {second.label}", figure=figure, note=note))
    return found or [Drawing("The two runs have no matrix in common.")]


def _in_order_of(first: Seen, second: Seen) -> Arrays:
    """The second run's matrices with the classes in the order of the first's."""
    ours, theirs = first.arrays.get("order"), second.arrays.get("order")
    if ours is None or theirs is None or len(ours) != len(theirs) or first.classes != second.classes:
        return second.arrays
    at = np.argsort(theirs)[ours]
    return {name: values[np.ix_(at, at)] if values.ndim == 2 else values for name, values in second.arrays.items()}


def _as_drawn(values: np.ndarray) -> np.ndarray:
    """Counts as percent of their row, all else as it is."""
    if not np.issubdtype(values.dtype, np.integer):
        return values
    return np.asarray(100 * values / np.maximum(values.sum(1, keepdims=True), 1))


def matrix(name: str, values: np.ndarray, run: Seen, *, apart: bool = False) -> Any:
    """A matrix of classes or stages as a heat map; ``apart``: of differences, zero white."""
    import plotly.graph_objects as go

    order = run.arrays.get("order")
    by_class = (
        len(values) == len(run.classes) and values.shape[0] == values.shape[1] and not name.startswith("student_")
    )
    counts = np.issubdtype(values.dtype, np.integer)
    if by_class:
        names = [run.classes[int(number)] for number in (order if order is not None else range(len(values)))]
        x, y, titles = names, names, ("prediction", "true class") if counts else ("class", "class")
    else:
        x, y = _stage_names(values.shape[1]), _stage_names(values.shape[0])
        titles = (f"{name.rpartition('_')[2]}'s stage", "student's stage")
    figure = go.Figure(layout=style.layout(x=titles[0], y=titles[1], key=f"matrix-{name}", height=400))
    scale: dict[str, Any] = {"colorscale": SEQUENTIAL}
    shown, hover = _as_drawn(values).astype(np.float32), "%{y}, %{x}: %{z:.3f}"
    if apart:
        reach = max(1e-6, float(np.nanmax(np.abs(shown))))
        scale = {"colorscale": DIVERGING, "zmid": 0, "zmin": -reach, "zmax": reach}
    elif counts:
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


MAX_CLASSES = 60


def confusion(counts: np.ndarray, classes: tuple[str, ...], called: str) -> Any:
    """Counts (C, C), true class by prediction, as a heat map of the classes that occur; of many, the worst ones.

    ``called``: the network that predicted.
    """
    wrong = counts.sum(0) + counts.sum(1) - 2 * np.diagonal(counts)
    occurs = np.nonzero(counts.sum(0) + counts.sum(1))[0]
    kept = np.sort(occurs[np.argsort(-wrong[occurs], kind="stable")[:MAX_CLASSES]])
    names = tuple(classes[number] for number in kept.tolist())
    no_images = np.zeros((0, 8, 8, 3), np.uint8)
    shown = Seen(called, {}, no_images, np.zeros(0, np.int64), names)
    figure = matrix("student", counts[np.ix_(kept, kept)], shown)
    few = f" (the {MAX_CLASSES} classes with the most mistakes)" if len(kept) < len(occurs) else ""
    figure.update_xaxes(title={"text": f"prediction of {called}{few}"})
    return figure


def _stage_names(count: int) -> list[str]:
    return [*(f"stage {number + 1}" for number in range(count - 1)), "embedding"]
