"""Everything that can be looked at, each with what it is called, what it shows in a sentence, and who computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kdengine.errors import BadInput, Problem
from kdengine.inspection import (
    attention,
    classes,
    graphs,
    importance,
    of_method,
    predictions,
    representation,
    shifts,
)
from kdengine.inspection.subject import Arrays, Subject

MAPS, GRAPHED = 16, 64
"""Images that maps are recorded of, and that graphs, planes and representations are."""

Kind = Literal["maps", "graph", "matrices", "calibration", "bars", "pairs", "plane", "curves", "series", "tiles"]
Group = Literal["maps", "relations", "predictions", "embedding", "training"]


@dataclass(frozen=True)
class Panel:
    """One panel of Inspect.

    Attributes:
        name: in commands and files.
        title: on the page.
        sentence: what one sees, for somebody who sees it for the first time.
        group: with which others it stands on the page.
        kind: how it is drawn.
        compute: its arrays; {} where these networks have nothing of the kind. None: only recorded while training.
        images: how many images it is recorded of; 0 = it is not recorded while training, only made on demand.
        followed: pattern of the names of the numbers that are followed over the epochs; "" = none.
        measure: what those numbers are.
        arrange: puts its arrays, computed or recorded, in the order in which they are shown. A run records without it:
            scipy, which finds the order of the classes, takes a third of a second to import, before the first step.
    """

    name: str
    title: str
    sentence: str
    group: Group
    kind: Kind
    compute: Callable[[Subject], Arrays] | None
    images: int
    followed: str = ""
    measure: str = ""
    arrange: Callable[[Arrays], Arrays] = lambda arrays: arrays


PANELS: dict[str, Panel] = {
    panel.name: panel
    for panel in (
        Panel(
            "attention",
            "Attention",
            "Brighter = the stage is more active there; shallow stages follow edges, deep ones the object.",
            "maps", "maps", attention.stage_attention, MAPS,
        ),
        Panel(
            "gradcam",
            "Grad-CAM",
            "Brighter = this place speaks more for the class that the network chose (Grad-CAM).",
            "maps", "maps", attention.class_activation, MAPS,
        ),
        Panel(
            "importance",
            "Importance pooling",
            "Brighter = kept by the pooling; beside it the places that max-pooling or a stride would have taken.",
            "maps", "maps", importance.pooling_importance, MAPS,
        ),
        Panel(
            "method",
            "Method",
            "The maps that the method itself computes and learns from.",
            "maps", "maps", of_method.own_maps, MAPS, followed=".", measure="mean over the images",
        ),
        Panel(
            "graph",
            "Graph",
            "An edge = the network calls these two alike, the thicker the more; blue edges stay within a class.",
            "relations", "graph", graphs.sample_graphs, GRAPHED,
            followed="_within$", measure="share of the weight within the class",
        ),
        Panel(
            "classes",
            "Classes",
            "Red = the two classes rise together in the predictions, blue = one rises as the other falls.",
            "relations", "matrices", classes.class_relations, GRAPHED, arrange=classes.side_by_side,
        ),
        Panel(
            "predictions",
            "Predictions",
            "Every image with its class and what each network takes it for; a check mark = right, a cross = wrong.",
            "predictions", "tiles", predictions.predictions, GRAPHED,
        ),
        Panel(
            "confusion",
            "Confusion",
            "Row = the true class, column = the prediction; what is off the diagonal is a mistake.",
            "predictions", "matrices", classes.confusion, 0,
        ),
        Panel(
            "calibration",
            "Calibration",
            "On the diagonal a network is right as often as it is sure; below it, it is too sure of itself.",
            "predictions", "calibration", classes.calibration, 0,
        ),
        Panel(
            "exits",
            "Exits",
            "How often each head is right, from the shallowest exit to the whole network and its teacher.",
            "predictions", "bars", classes.exit_accuracy, GRAPHED, followed=".", measure="accuracy",
        ),
        Panel(
            "disagree",
            "Disagreement",
            "The images on which the two differ although both are sure.",
            "predictions", "pairs", classes.disagreements, 0,
        ),
        Panel(
            "plane",
            "Embeddings",
            "A point = an image; close points are alike to the network (two principal components).",
            "embedding", "plane", representation.plane, GRAPHED,
        ),
        Panel(
            "tsne",
            "t-SNE",
            "A point = an image; neighbours are alike, distances between far groups mean nothing.",
            "embedding", "plane", representation.neighbourhoods, 0,
        ),
        Panel(
            "cka",
            "CKA",
            "1 = two stages separate the images in the same way, 0 = in unrelated ways (linear CKA).",
            "relations", "matrices", representation.stage_likeness, GRAPHED,
        ),
        Panel(
            "shift",
            "Shifts",
            "How often the prediction stays the same when the image moves some pixels to the right and down.",
            "predictions", "curves", shifts.shift_curves, 0,
        ),
        Panel(
            "gradients",
            "Gradients",
            "How hard each term of the loss pulls at the student's weights, over the run.",
            "training", "series", None, 0, followed=".", measure="norm of the gradient",
        ),
    )
}  # fmt: skip


def panel(name: str) -> Panel:
    """A panel by its name; raises BadInput with all names."""
    if name not in PANELS:
        raise BadInput(Problem("what", f"there is no view {name!r}; there are: {', '.join(PANELS)}"))
    return PANELS[name]
