"""What is seen inside networks, drawn. Two runs share scale, colours and layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdengine.figures import map_panels, matrices, networks, sample_graphs, style
from kdengine.figures.seen import Arrays, Drawing, Seen, Wishes


def draw(kind: str, runs: list[Seen], wishes: Wishes | None = None) -> list[Drawing]:
    """The drawings of a panel.

    Args:
        kind: as in `kdengine.inspection.panels`.
        runs: what is drawn, one or two; two share scale, colours and layout.
        wishes: how.
    """
    found = DRAWERS[kind](runs, wishes or Wishes())
    return [*found, *_histories(runs)] if kind != "series" else found


def _series(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    return [
        Drawing(run.label, figure=over_epochs(run.history, run.epoch, run.measure, "gradients", log=True))
        for run in runs
        if len(run.history) > 1
    ]


def _histories(runs: list[Seen]) -> list[Drawing]:
    """Numbers of a panel over the epochs, where it has any."""
    return [
        Drawing(f"{run.label}: over the epochs", figure=over_epochs(run.history, run.epoch, run.measure, "history"))
        for run in runs
        if len(run.history) > 1 and len(run.history["epochs"]) > 1
    ]


def over_epochs(history: Arrays, epoch: int | None, y: str, key: str, *, log: bool = False) -> Any:
    """Lines over the epochs that were looked at; a line marks the one shown."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="epoch", y=y, key=key, height=300))
    names = [name for name in history if name != "epochs"]
    for number, name in enumerate(names):
        figure.add_scatter(
            x=history["epochs"], y=history[name], name=name.replace("_", " "), mode="lines+markers",
            line={"color": style.TERMS[number % len(style.TERMS)]}, hovertemplate="%{y:.4g}",
        )  # fmt: skip
    if epoch is not None:
        figure.add_vline(x=epoch, line={"color": style.GREY, "dash": "dot", "width": 1})
    if log:
        figure.update_yaxes(type="log")
    return figure


DRAWERS: dict[str, Callable[[list[Seen], Wishes], list[Drawing]]] = {
    "maps": map_panels.maps,
    "pairs": map_panels.pairs,
    "tiles": map_panels.predictions,
    "graph": sample_graphs.graphs,
    "matrices": matrices.matrices,
    "calibration": networks.calibration,
    "bars": networks.bars,
    "plane": networks.planes,
    "curves": networks.shift_curves,
    "series": _series,
}
