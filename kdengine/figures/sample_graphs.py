"""The graph of a batch: images as nodes, edges as wide as they weigh, and the same as a matrix."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from kdengine.figures import style, verdicts
from kdengine.figures.images import SEQUENTIAL, crossed, data_url, framed
from kdengine.figures.networks import LEGEND, class_colour
from kdengine.figures.seen import WHO, Arrays, Drawing, Seen, Wishes

MAX_EDGES = 400
NEAREST = 4
SPACING = 1.45
"""Least distance of two images times the root of their number: they touch at about 1.3."""


def graphs_of(arrays: Arrays) -> list[str]:
    """Names of the graphs without the network's, the method's own first."""
    names = [name for name in arrays if f"{name}_within" in arrays]
    families = list(dict.fromkeys(re.sub(r"_?(student|teacher)$", "", name) for name in names))
    return sorted(families, key=lambda name: name == "embedding")


def graphs(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """Graphs of student and teacher, then their matrices."""
    drawings, heats = [], []
    for run in runs:
        family = wishes.graph if wishes.graph in graphs_of(run.arrays) else graphs_of(run.arrays)[0]
        for who in WHO:
            name = f"{family}_{who}" if family else who
            if name not in run.arrays or (who == "teacher" and run is not runs[0]):
                continue
            adjacency = run.arrays[name]
            note = graph_note(run.arrays, name)
            title = f"{run.label}: {who}" if who == "student" else who
            drawings.append(Drawing(title, figure=sample_graph(adjacency, run, wishes, who), note=note))
            heats.append(Drawing(f"{title}, as a matrix", figure=adjacency_heat(adjacency, run, who)))
        weights = {name: values for name, values in run.arrays.items() if name.endswith("_weight") and values.ndim == 1}
        if weights:
            note = "1 is the mean; the method learns more from what weighs more."
            heats.append(Drawing(f"{run.label}: weights of the images", figure=weight_bars(weights, run), note=note))
    return drawings + heats


def graph_note(arrays: Arrays, name: str) -> str:
    """The facts of a graph in a sentence."""
    within, chance, own, entropy = (float(arrays[f"{name}_{what}"]) for what in ("within", "chance", "self", "entropy"))
    mass = (
        ""
        if np.isnan(within)
        else f"{100 * within:.0f} % of the weight to others stays within the class (by chance {100 * chance:.0f} %); "
    )
    return f"{mass}an image gives itself {100 * own:.0f} %; entropy {entropy:.2f} nats."


def places(adjacency: np.ndarray) -> np.ndarray:
    """Where the images of a graph stand, (N, 2) in -1..1: springs between each and its `NEAREST` most alike."""
    import networkx as nx

    graph: Any = nx.Graph()
    graph.add_nodes_from(range(len(adjacency)))
    weights = _mutual(adjacency)
    for row in range(len(weights)):
        for other in np.argsort(-weights[row], kind="stable")[:NEAREST]:
            graph.add_edge(row, int(other), weight=1.0)
    found = nx.spring_layout(graph, seed=0, iterations=80, k=1.4 / np.sqrt(max(1, len(weights))))
    return _apart(np.asarray([found[number] for number in range(len(weights))], np.float64))


def _apart(at: np.ndarray) -> np.ndarray:
    """Spread over -1..1; images that cover each other are pushed apart within that, so that each can be seen."""
    low, high = at.min(0), at.max(0)
    at = 2 * (at - low) / np.maximum(high - low, 1e-9) - 1
    least = SPACING / np.sqrt(max(16, len(at)))
    generator = np.random.default_rng(0)
    for _ in range(min(300, 20_000 // len(at))):
        away = at[:, None] - at[None] + 1e-6 * generator.standard_normal((len(at), len(at), 2))
        far = np.linalg.norm(away, axis=2) + np.eye(len(at))
        push = np.clip(least - far, 0, None)[..., None] * away / np.maximum(far, 1e-9)[..., None]
        if not push.any():
            break
        at = np.clip(at + push.sum(1) / 2, -1, 1)
    return at


def edges(adjacency: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    """(i, j, weight as a share of the strongest) above the threshold, strongest first, `MAX_EDGES` at most."""
    weights = np.triu(_mutual(adjacency), 1)
    top = float(weights.max(initial=0))
    if top <= 0:
        return []
    rows, columns = np.nonzero(weights >= max(threshold, 1e-9) * top)
    order = np.argsort(-weights[rows, columns], kind="stable")[:MAX_EDGES]
    return [(int(rows[k]), int(columns[k]), float(weights[rows[k], columns[k]] / top)) for k in order]


def _mutual(adjacency: np.ndarray) -> np.ndarray:
    weights = np.maximum(np.asarray(adjacency, np.float64), 0)
    weights = (weights + weights.T) / 2
    np.fill_diagonal(weights, 0)
    return weights


def sample_graph(adjacency: np.ndarray, run: Seen, wishes: Wishes, who: str) -> Any:
    """Images as nodes, framed in their class's colour, crossed where the network is wrong; edges as wide as they
    weigh."""
    import plotly.graph_objects as go

    at = wishes.places if wishes.places is not None else places(adjacency)
    figure = go.Figure(layout=style.layout(x="", y="", key=f"graph-{who}", height=520))
    _draw_edges(figure, adjacency, run, wishes.threshold, at)
    _draw_legend(figure, run)
    size = 1.3 / np.sqrt(max(16, len(at)))
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"},
        hovermode="closest",
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        images=[
            {
                "source": data_url(_node(run, number, who)),
                "xref": "x", "yref": "y", "x": float(x), "y": float(y), "sizex": size, "sizey": size,
                "xanchor": "center", "yanchor": "middle", "layer": "above",
            }
            for number, (x, y) in enumerate(at)
        ],
    )  # fmt: skip
    weights = np.asarray(adjacency)
    texts = [_node_text(weights, run, number) for number in range(len(at))]
    figure.add_scatter(
        x=at[:, 0], y=at[:, 1], mode="markers", marker={"size": 26, "opacity": 0}, text=texts,
        hovertemplate="%{text}<extra></extra>", showlegend=False,
    )  # fmt: skip
    reach = 1.12
    figure.update_xaxes(visible=False, range=[-reach, reach])
    figure.update_yaxes(visible=False, range=[-reach, reach])
    return figure


def _draw_edges(figure: Any, adjacency: np.ndarray, run: Seen, threshold: float, at: np.ndarray) -> None:
    """A trace for each width and kind, so that hundreds of edges are a handful of traces."""
    groups: dict[tuple[bool, int], list[tuple[int, int]]] = {}
    listed: set[bool] = set()
    for i, j, share in edges(adjacency, threshold):
        same = run.labels[i] == run.labels[j] and run.labels[i] >= 0
        groups.setdefault((bool(same), 1 + int(share * 3.999)), []).append((i, j))
    for (same, width), pairs in sorted(groups.items()):
        first = same not in listed
        listed.add(same)
        x = [value for i, j in pairs for value in (at[i, 0], at[j, 0], None)]
        y = [value for i, j in pairs for value in (at[i, 1], at[j, 1], None)]
        colour = "rgba(37, 99, 235, 0.75)" if same else "rgba(138, 143, 152, 0.45)"
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": colour, "width": 0.8 * width}, hoverinfo="skip",
            name="within a class" if same else "between classes", showlegend=first,
        )  # fmt: skip


def _node(run: Seen, number: int, who: str) -> np.ndarray:
    """An image in the colour of its class, crossed where the network is wrong."""
    drawn = framed(run.pixels[number], class_colour(int(run.labels[number])))
    return crossed(drawn) if verdicts.is_wrong(run, number, who) else drawn


def _draw_legend(figure: Any, run: Seen) -> None:
    """A name for each colour of a frame, where there are few enough."""
    labels = np.unique(run.labels)
    if len(labels) > LEGEND:
        return
    for label in labels.tolist():
        known = 0 <= label < len(run.classes)
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=run.classes[label] if known else "unknown class",
            marker={"color": class_colour(label), "symbol": "square", "size": 10}, hoverinfo="skip",
        )  # fmt: skip


def _node_text(weights: np.ndarray, run: Seen, number: int) -> str:
    others = weights[number].copy()
    others[number] = -np.inf
    nearest = ", ".join(
        f"{run.class_of(int(other)) or int(other) + 1} {weights[number, other]:.3f}"
        for other in np.argsort(-others, kind="stable")[:3]
    )
    own = f"{weights[number, number]:.3f}"
    said = "".join(f"<br>{each.words}" for each in verdicts.of(run, number))
    return f"<b>{run.class_of(number) or f'image {number + 1}'}</b>{said}<br>itself {own}<br>nearest: {nearest}"


def adjacency_heat(adjacency: np.ndarray, run: Seen, who: str) -> Any:
    """The graph as a matrix, its rows and columns sorted by class."""
    import plotly.graph_objects as go

    order = np.argsort(run.labels, kind="stable")
    names = [f"{run.class_of(int(number))} {int(number) + 1}".strip() for number in order]
    figure = go.Figure(layout=style.layout(x="image, by class", y="image, by class", key=f"heat-{who}", height=420))
    values = np.asarray(adjacency)[np.ix_(order, order)]
    figure.add_heatmap(
        z=values.astype(np.float32), colorscale=SEQUENTIAL, zmin=0, zmax=float(_cap(values)), x=names, y=names,
        hovertemplate="%{y} gives %{x}: %{z:.4f}<extra></extra>", colorbar={"title": {"text": "weight"}},
    )  # fmt: skip
    figure.update_xaxes(showticklabels=False, type="category", constrain="domain")
    figure.update_yaxes(
        showticklabels=False, type="category", autorange="reversed", scaleanchor="x", constrain="domain"
    )
    figure.update_layout(hovermode="closest")
    return figure


def weight_bars(weights: Arrays, run: Seen) -> Any:
    """What a method makes of each image, (N,) by name, the images sorted by class."""
    import plotly.graph_objects as go

    order = np.argsort(run.labels, kind="stable")
    names = [f"{run.class_of(int(number))} {int(number) + 1}".strip() for number in order]
    figure = go.Figure(layout=style.layout(x="image, by class", y="weight", key="weights", height=300))
    for number, (name, values) in enumerate(weights.items()):
        figure.add_bar(
            x=names, y=np.asarray(values)[order], name=name.replace("_", " "), marker={"color": style.TERMS[number]},
            hovertemplate="%{y:.3f}",
        )  # fmt: skip
    figure.update_xaxes(type="category", showticklabels=False)
    return figure


def _cap(values: np.ndarray) -> float:
    """The largest weight to another: what an image gives itself would leave all else in one colour."""
    others = values[~np.eye(len(values), dtype=bool)]
    return float(max(1e-6, others.max(initial=0)))
