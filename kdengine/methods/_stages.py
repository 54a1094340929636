"""Which stage of the student goes with which stage of the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Shapes


@dataclass(frozen=True)
class StagePair:
    """A student stage and the teacher stage it learns from, as indices into ``stages``."""

    student: int
    teacher: int
    side: int = field(compare=False, default=0)


def pair_stages(student: Shapes, teacher: Shapes) -> list[StagePair]:
    """Pairs stages by resolution: for each side that both nets have, the last map of it; else the deepest maps.

    Raises:
        BadInput: one of the nets has no maps.
    """
    for role, shapes in (("student", student), ("teacher", teacher)):
        if not shapes.stages:
            message = f"the {role} has no stage maps (a transformer, perhaps); choose a method on logits or embeddings"
            raise BadInput(Problem(role, message))
    last_student = {height: index for index, (_, height, _) in enumerate(student.stages)}
    last_teacher = {height: index for index, (_, height, _) in enumerate(teacher.stages)}
    common = sorted(set(last_student) & set(last_teacher), reverse=True)
    if common:
        return [StagePair(last_student[side], last_teacher[side], side) for side in common]
    side = min(student.stages[-1][1], teacher.stages[-1][1])
    return [StagePair(len(student.stages) - 1, len(teacher.stages) - 1, side)]
