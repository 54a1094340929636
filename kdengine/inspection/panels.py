"""Everything that can be looked at, each with what it is called, what it shows in a sentence, and who computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kdengine.errors import BadInput, Problem
from kdengine.inspection import attention, classes, graphs, importance, of_method, representation, shifts
from kdengine.inspection.subject import Arrays, Subject

MAPS, GRAPHED = 16, 64
"""Pictures that maps are recorded of, and that graphs, planes and representations are."""

Kind = Literal["maps", "graph", "matrices", "calibration", "bars", "pairs", "plane", "curves", "series"]


@dataclass(frozen=True)
class Panel:
    """One thing to look at.

    Attributes:
        name: in commands and files.
        title: on the page.
        sentence: what one sees, for somebody who sees it for the first time.
        kind: how it is drawn.
        compute: its arrays; {} where these networks have nothing of the kind. None: only recorded while training.
        pictures: how many pictures it is recorded of; 0 = it is not recorded while training, only made on demand.
        followed: pattern of the names of the numbers that are followed over the epochs; "" = none.
        measure: what those numbers are.
    """

    name: str
    title: str
    sentence: str
    kind: Kind
    compute: Callable[[Subject], Arrays] | None
    pictures: int
    followed: str = ""
    measure: str = ""


PANELS: dict[str, Panel] = {
    panel.name: panel
    for panel in (
        Panel(
            "attention",
            "Attention",
            "Brighter = the stage answers more strongly there; shallow stages follow edges, deep ones the object.",
            "maps", attention.stage_attention, MAPS,
        ),
        Panel(
            "gradcam",
            "Grad-CAM",
            "Brighter = this place speaks more for the class that the network chose (Grad-CAM).",
            "maps", attention.class_activation, MAPS,
        ),
        Panel(
            "importance",
            "Importance pooling",
            "Brighter = kept by the pooling; beside it the places that max-pooling or a stride would have taken.",
            "maps", importance.pooling_importance, MAPS,
        ),
        Panel(
            "method",
            "Method",
            "The maps that the method itself computes and learns from.",
            "maps", of_method.own_maps, MAPS, followed=".", measure="mean over the pictures",
        ),
        Panel(
            "graph",
            "Graph",
            "An edge = the network calls these two alike, the thicker the more; blue edges stay within a class.",
            "graph", graphs.sample_graphs, GRAPHED, followed="_within$", measure="share of the weight within the class",
        ),
        Panel(
            "classes",
            "Classes",
            "Red = the two classes rise together in the answers, blue = one rises as the other falls.",
            "matrices", classes.class_relations, GRAPHED,
        ),
        Panel(
            "confusion",
            "Confusion",
            "Row = the true class, column = the answer; what is off the diagonal is a mistake.",
            "matrices", classes.confusion, 0,
        ),
        Panel(
            "calibration",
            "Calibration",
            "On the diagonal a network is right as often as it is sure; below it, it is too sure of itself.",
            "calibration", classes.calibration, 0,
        ),
        Panel(
            "exits",
            "Exits",
            "How often each head is right, from the shallowest exit to the whole network and its teacher.",
            "bars", classes.exit_accuracy, GRAPHED, followed=".", measure="share of right answers",
        ),
        Panel(
            "disagree",
            "Disagreement",
            "The pictures on which the two differ although both are sure.",
            "pairs", classes.disagreements, 0,
        ),
        Panel(
            "plane",
            "Embeddings",
            "A point = a picture; close points are alike to the network (two principal components).",
            "plane", representation.plane, GRAPHED,
        ),
        Panel(
            "tsne",
            "t-SNE",
            "A point = a picture; neighbours are alike, distances between far groups mean nothing.",
            "plane", representation.neighbourhoods, 0,
        ),
        Panel(
            "cka",
            "CKA",
            "1 = two stages tell the pictures apart in the same way, 0 = in unrelated ways (linear CKA).",
            "matrices", representation.stage_likeness, GRAPHED,
        ),
        Panel(
            "shift",
            "Shifts",
            "How often the answer stays the same when the picture moves some pixels to the right and down.",
            "curves", shifts.shift_curves, 0,
        ),
        Panel(
            "gradients",
            "Gradients",
            "How hard each term of the loss pulls at the student's weights, over the run.",
            "series", None, 0, followed=".", measure="norm of the gradient",
        ),
    )
}  # fmt: skip


def panel(name: str) -> Panel:
    """A panel by its name; raises BadInput with all names."""
    if name not in PANELS:
        raise BadInput(Problem("what", f"there is no view {name!r}; there are: {', '.join(PANELS)}"))
    return PANELS[name]
