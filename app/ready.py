"""Experiments that are ready to launch: the quick demo, and each of the five papers small enough for any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdengine.errors import BadInput
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec

TEACHER, STUDENT = "resnet8x4", "resnet20"
"""A pair where distillation shows its point on any machine: the student is several times smaller than the teacher."""


@dataclass(frozen=True)
class Ready:
    """One experiment.

    Attributes:
        name: in addresses, ``/launch?ready=NAME``, and of its figure.
        title: of its card.
        sentence: the idea.
        content: as a spec has it.
    """

    name: str
    title: str
    sentence: str
    content: Mapping[str, Any]

    @property
    def spec(self) -> ExperimentSpec:
        """The experiment with every default."""
        return ExperimentSpec.from_mapping(dict(self.content))

    @property
    def paper(self) -> str:
        """Who the method is from; "" for none."""
        return str(METHODS.get(str(self.content["method"])).paper)


def _digits(method: str, student: str = STUDENT, teacher: str | None = None) -> dict[str, Any]:
    content = {"data": "digits", "student": student, "method": method, "recipe": "quick"}
    return content | ({"teacher": teacher} if teacher else {})


DEMO = Ready(
    "demo",
    "Quick demo",
    "Train a teacher on handwritten digits, then a student several times smaller that imitates its predictions.",
    _digits("kd", teacher=TEACHER),
)
PAPERS = (
    Ready(
        "dcad",
        "CIP + DCAD",
        "The teacher pools by the importance of each place; the student aligns which classes go together.",
        _digits("dcad", teacher="resnet8x4_cip"),
    ),
    Ready(
        "light_self",
        "Light self-distillation",
        "Early exits on a compressed network learn from its own deepest one; there is no teacher.",
        _digits("light_self", student="resnet20_light"),
    ),
    Ready(
        "grkd",
        "GRKD",
        "A graph links the images of a batch; meta-learning decides what to learn from the teacher's graph.",
        _digits("grkd", teacher=TEACHER),
    ),
    Ready(
        "fusion_self",
        "Feature map fusion",
        "Maps of early exits are fused under one mask, and every exit learns from the fused map.",
        _digits("fusion_self"),
    ),
    Ready(
        "ama_self",
        "Adaptive mixed attention",
        "A self-teacher splits each map into foreground and background, distilled in adaptive shares.",
        _digits("ama_self"),
    ),
)
ALL = {ready.name: ready for ready in (DEMO, *PAPERS)}


def find(name: str) -> Ready:
    """The experiment of that name; raises BadInput when there is none."""
    if name not in ALL:
        raise BadInput(f"There is no ready experiment {name!r}; there are: {', '.join(ALL)}.")
    return ALL[name]
