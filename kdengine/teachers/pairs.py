"""Pairs of networks of which published tables say that a method hurts, or does not help. Without torch.

A warning, never a refusal: the tables are of CIFAR-100 under one recipe, and another recipe may turn them round.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdengine.errors import BadInput, DamagedFile
from kdengine.spec import ExperimentSpec
from kdengine.teachers import records
from kdengine.workspace import Workspace, files

SOURCE = "CIFAR-100, 240 epochs, table in the README of HobbitLong/RepDistiller"
# The mobile nets of that table are MobileNetV2 of half width; V3 is built of the same blocks.
MOBILE_STUDENT = "mobilenet_v2_half"
MOBILE_KIN = ("mobilenet",)
WITHIN_SPREAD = 0.3


@dataclass(frozen=True)
class Result:
    """One number of a published table: top-1 accuracy of a student in percent, with the method and alone."""

    method: str
    teacher: str
    student: str
    distilled: float
    alone: float


# Only results below the student alone. Names of the catalog; resnet50 and vgg13 are the table's, at 32 px.
TABLE = (
    Result("at", "vgg13", MOBILE_STUDENT, 59.40, 64.60),
    Result("at", "resnet50", MOBILE_STUDENT, 58.58, 64.60),
    Result("fitnet", "vgg13", MOBILE_STUDENT, 64.14, 64.60),
    Result("fitnet", "resnet50", MOBILE_STUDENT, 63.16, 64.60),
    Result("rkd", "vgg13", MOBILE_STUDENT, 64.52, 64.60),
    Result("rkd", "resnet50", MOBILE_STUDENT, 64.43, 64.60),
    Result("rkd", "resnet32x4", "resnet8x4", 71.90, 72.50),
    Result("fitnet", "resnet110", "resnet20", 68.99, 69.06),
    Result("fitnet", "resnet110", "resnet32", 71.06, 71.14),
)


def warnings(spec: ExperimentSpec, workspace: Workspace) -> list[str]:
    """What the tables say against an experiment, a sentence each; [] where they say nothing.

    Args:
        spec: the experiment.
        workspace: where its teacher's card is looked up; an unknown teacher gives no warning.
    """
    teacher = teacher_model(spec, workspace)
    return known_bad(spec.method.name, teacher, spec.student.name) if teacher else []


def known_bad(method: str, teacher: str, student: str) -> list[str]:
    """What the tables say against a method for a pair of catalog names.

    A mobile student that is none of the table's is shown the table's numbers as those of its nearest kin, provided that
    its teacher is of another family.
    """
    exact = [row for row in TABLE if (row.method, row.teacher, row.student) == (method, teacher, student)]
    if exact:
        return [f"{method} {_outcome(exact)} with this pair: {_numbers(exact)} ({SOURCE})"]
    if not _is_mobile(student) or _is_mobile(teacher):
        return []
    kin = [row for row in TABLE if row.method == method and row.student == MOBILE_STUDENT]
    if not kin:
        return []
    return [
        f"{method} {_outcome(kin)} where a mobile net learned from another family: {_numbers(kin)} ({SOURCE}); "
        f"{teacher} to {student} is not in the table, these are its nearest kin"
    ]


def teacher_model(spec: ExperimentSpec, workspace: Workspace) -> str:
    """Catalog name of the teacher's network; "" without a teacher, or where it cannot be found."""
    teacher = spec.teacher
    if teacher is None:
        return ""
    if teacher.spec is not None:
        return teacher.spec.student.name
    try:
        if teacher.imported is not None:
            return records.find(workspace, teacher.imported).model
        card = files.read_json(workspace.existing_run(teacher.run or "").card_file)
        return str((card or {}).get("model", ""))
    except (BadInput, DamagedFile):
        return ""


def _is_mobile(model: str) -> bool:
    return model.rpartition("/")[2].startswith(MOBILE_KIN)


def _outcome(rows: list[Result]) -> str:
    lost = max(row.alone - row.distilled for row in rows)
    # Differences as small as this are within the spread of seeds, which the table does not give.
    return f"lost up to {lost:.1f} points" if lost >= WITHIN_SPREAD else "gained nothing"


def _numbers(rows: list[Result]) -> str:
    return ", ".join(
        f"{row.teacher} to {row.student} {row.distilled:.2f} % against {row.alone:.2f} % alone" for row in rows
    )
