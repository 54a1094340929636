"""What the Inspect page shows of a result: drawings, text, and which options there are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gradio as gr

from app import text
from app.pages.inspect.selection import BY_CLASS, Selection
from kdengine.figures.seen import DIFFERENCE, Drawing, Seen, Wishes

MAX_PLOTS = 10
SHOWN = 2 + 3 * MAX_PLOTS + 8
"""How many values `values_of` has."""

TILED = ("maps", "tiles")
"""Kinds of views that show as many images as are wanted."""


def drawn(result: dict[str, Any], selection: Selection, *, for_page: bool = False) -> list[Drawing]:
    """The drawings of a result of the task `inspect`; ``for_page``: tiles instead of SVG."""
    from kdengine.figures.inspection import draw

    seen: list[Seen] = result["seen"]
    if result["kind"] in TILED:
        seen = [run.first(int(selection.count)) for run in seen]
    wishes = Wishes(
        stage=int(selection.stage) if selection.stage and selection.stage.isdigit() else None,
        arrangement=selection.arrangement,
        scale=selection.scale,
        for_page=for_page,
        threshold=selection.threshold,
        graph=None if selection.graph in (None, "") else selection.graph,
        places=_places(result),
        anchors=result["anchor"] if result["kind"] == "plane" else {},
    )
    return draw(result["kind"], seen, wishes)


def _places(result: dict[str, Any]) -> Any:
    """Where the images of a graph stand: by what stays over the epochs, the teacher's graph where there is one."""
    if result["kind"] != "graph":
        return None
    name = next(name for name in ("embedding_teacher", "embedding_student") if name in result["anchor"])
    adjacency = result["anchor"][name]
    return _placed(adjacency.tobytes(), adjacency.shape[0], str(adjacency.dtype))


@lru_cache(maxsize=16)
def _placed(content: bytes, count: int, kind: str) -> Any:
    import numpy as np

    from kdengine.figures.sample_graphs import places

    return places(np.frombuffer(content, kind).reshape(count, count))


def sentence(result: dict[str, Any], selection: Selection) -> str:
    """What the view shows; for a difference, what is subtracted."""
    if len(result["seen"]) == 2 and selection.arrangement == DIFFERENCE:
        if result["kind"] == "maps":
            return f"{result['title']}: the first run minus the second, each map as a share of its own maximum."
        if result["kind"] == "matrices":
            return f"{result['title']}: the first run minus the second."
    return str(result["sentence"])


def other_epoch(result: dict[str, Any], request: dict[str, Any]) -> str:
    """Says so where the second run is shown at another epoch than the first."""
    seen: list[Seen] = result["seen"]
    if len(seen) < 2 or seen[1].epoch == seen[0].epoch or request["epoch"] == "best":
        return ""
    shown = "its best weights" if seen[1].epoch is None else f"its epoch {seen[1].epoch}"
    return f"The second run has nothing of epoch {request['epoch']}: showing {shown}."


def values_of(
    message: str,
    empty: str,
    drawings: list[Drawing],
    result: dict[str, Any] | None = None,
    selection: Selection | None = None,
    epochs: list[int] | None = None,
) -> list[Any]:
    """Values of `Parts.shown`: message, tiles, slots of plots, and which options there are."""
    cards = [
        f'<section class="card kd-drawing">{_heading(each)}{each.html or each.svg}</section>'
        for each in drawings
        if each.figure is None
    ]
    kind = "kd-pair" if len(cards) == 2 else "kd-single"
    numbers = ",".join(map(str, epochs or []))
    tiles = f'<div class="{kind}" data-epochs="{numbers}">{"".join(cards)}</div>' if drawings else empty
    plots = [each for each in drawings if each.figure is not None][:MAX_PLOTS]
    values: list[Any] = [message, tiles]
    for number in range(MAX_PLOTS):
        one = plots[number] if number < len(plots) else None
        values += [gr.update(visible=one is not None), _heading(one) if one else "", one.figure if one else None]
    return values + _options(result, selection)


def _heading(one: Drawing) -> str:
    note = f'<p class="kd-facts">{text.escape(one.note)}</p>' if one.note else ""
    return f"<h2>{text.escape(one.title)}</h2>{note}"


def _options(result: dict[str, Any] | None, selection: Selection | None) -> list[Any]:
    """Updates of stage, arrangement, scale, graph, threshold, number of images, size of tiles and fading."""
    if result is None or selection is None:
        return [gr.update(visible=False)] * 8
    from kdengine.figures.map_panels import stages_of
    from kdengine.figures.sample_graphs import graphs_of

    seen: list[Seen] = result["seen"]
    kind, two = result["kind"], len(result["seen"]) == 2
    stages = [str(stage) for stage in stages_of(seen[0].arrays)] if kind == "maps" else []
    graphs = graphs_of(seen[0].arrays) if kind == "graph" else []
    return [
        gr.update(
            visible=bool(stages),
            choices=stages,
            value=selection.stage if selection.stage in stages else stages[-1] if stages else None,
        ),
        gr.update(visible=kind in ("maps", "matrices") and two),
        gr.update(visible=kind == "maps" and two and selection.arrangement != DIFFERENCE),
        gr.update(
            visible=len(graphs) > 1,
            choices=[("of the embedding" if name == "embedding" else "the method's own", name) for name in graphs],
            value=selection.graph if selection.graph in graphs else graphs[0] if graphs else None,
        ),
        gr.update(visible=kind == "graph"),
        gr.update(visible=kind in TILED or selection.source == BY_CLASS),
        gr.update(visible=kind in (*TILED, "pairs")),
        gr.update(visible=kind == "maps"),
    ]
