"""Networks beside each other: calibration, accuracy of the exits, embeddings on a plane, steadiness."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdengine.figures import style, verdicts
from kdengine.figures.seen import WHO, Drawing, Seen, Wishes, of_networks

CLASSES = (*style.TERMS, "#9467bd", "#8c564b", "#ee6677", "#44aa99", "#999933", "#aa4499", "#117733", "#882255")
"""Okabe and Ito's palette, then what differs most from it."""
LEGEND = 20
"""Up to so many classes are listed beside a plot."""


def class_colour(label: int) -> str:
    """A class's colour; with more than sixteen classes some share one."""
    return CLASSES[label % len(CLASSES)] if label >= 0 else style.GREY


def calibration(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """Accuracy over confidence."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="confidence (%)", y="accuracy (%)", key="calibration", height=380))
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="as sure as right", line={"color": style.GREY, "dash": "dot"}
    )
    for run, who, label, dash in of_networks(runs, lambda who: f"{who}_confidence"):
        share = run.arrays[f"{who}_share"]
        figure.add_scatter(
            x=100 * run.arrays[f"{who}_confidence"], y=100 * run.arrays[f"{who}_accuracy"], name=label,
            mode="lines+markers", line={"color": WHO[who], "dash": dash}, marker={"size": 5 + 25 * np.sqrt(share)},
            customdata=100 * share, hovertemplate="%{y:.1f} % right, %{customdata:.1f} % of the images",
        )  # fmt: skip
    return [Drawing("calibration", figure=figure, note="A larger point holds more images.")]


def bars(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """Accuracy of each head."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="", y="accuracy on validation (%)", key="exits", height=340))
    for number, run in enumerate(runs):
        names = [name for name in run.arrays if not (name == "teacher" and number)]
        shares = [100 * float(run.arrays[name]) for name in names]
        colours = [WHO.get(name, style.TERMS[4]) for name in names]
        figure.add_bar(
            x=[name.replace("_", " ") for name in names], y=shares, name=run.label,
            marker={"color": colours, "pattern": {"shape": "/" if number else ""}},
            text=[f"{value:.1f}" for value in shares], hovertemplate="%{y:.1f} %",
        )  # fmt: skip
    figure.update_yaxes(range=[0, 100])
    figure.update_layout(showlegend=len(runs) > 1)
    return [Drawing("accuracy", figure=figure)]


def planes(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """The embeddings of each network."""
    return [
        Drawing(
            f"{run.label}: {who}" if who == "student" else who,
            figure=plane(turned(run.arrays[who], wishes.anchors.get(who)), run, who),
            note=_explained(run.arrays.get(f"{who}_explained")),
        )
        for run, who, _, _ in of_networks(runs, lambda who: who)
    ]


def _explained(shares: np.ndarray | None) -> str:
    hollow = "A hollow point is a wrong prediction."
    return hollow if shares is None else f"The plane holds {100 * float(shares.sum()):.0f} % of the variance. {hollow}"


def turned(points: np.ndarray, anchor: np.ndarray | None) -> np.ndarray:
    """Points (N, 2) rotated or mirrored, not stretched, to lie as near as they can to the anchor's (Procrustes)."""
    if anchor is None or anchor.shape != points.shape:
        return points
    left, _, right = np.linalg.svd(points.T @ anchor)
    return np.asarray(points @ left @ right)


def plane(points: np.ndarray, run: Seen, who: str) -> Any:
    """Points coloured by class, hollow where the prediction is wrong; shapes tell classes that share a colour apart."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="first", y="second", key=f"plane-{who}", height=420))
    symbols = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star")
    labels = np.asarray(run.labels)
    for label in np.unique(labels).tolist():
        rows = np.nonzero(labels == label)[0]
        symbol = symbols[label // len(CLASSES) % 7]
        figure.add_scatter(
            x=points[rows, 0], y=points[rows, 1], mode="markers", name=run.class_of(int(rows[0])) or "unknown",
            marker={
                "color": class_colour(label), "size": 9,
                "symbol": [f"{symbol}-open" if verdicts.is_wrong(run, int(row), who) else symbol for row in rows],
            },
text=[_point_text(run, int(row)) for row in rows],
            hovertemplate="%{text}",
        )  # fmt: skip
    figure.update_layout(hovermode="closest", showlegend=len(np.unique(labels)) <= LEGEND)
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    return figure


def _point_text(run: Seen, number: int) -> str:
    return "<br>".join([f"image {number + 1}", *(each.words for each in verdicts.of(run, number))])


def shift_curves(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """Agreement and change of the logits over the shift."""
    return [
        Drawing(title, figure=_shift_curve(runs, what, y, factor))
        for title, what, y, factor in (
            ("same prediction", "agreement", "images with the same prediction (%)", 100),
            ("change of the logits", "logit_change", "change of the logits (their spread = 1)", 1),
        )
    ]


def _shift_curve(runs: list[Seen], what: str, y: str, factor: float) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="shift (px)", y=y, key=f"shift-{what}", height=340))
    for run, who, label, dash in of_networks(runs, lambda who: f"{who}_{what}"):
        figure.add_scatter(
            x=run.arrays["shift"], y=factor * run.arrays[f"{who}_{what}"], name=label, mode="lines+markers",
            line={"color": WHO[who], "dash": dash}, hovertemplate="%{y:.2f}",
        )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return figure
