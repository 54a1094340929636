"""What runs are called, and what belongs together: the runs of a comparison, the trials of a study, a teacher and its
students."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from app.board import PAGE_OF, Row

COMPARISON, STUDY, RACE = "comparison", "study", "race"
_SEED = re.compile(r", seed \d+\Z")


@dataclass(frozen=True)
class Group:
    """Runs that fold into one line.

    Attributes:
        kind: "comparison", "study" or "race", whose heats they are.
        name: of it.
    """

    kind: str
    name: str

    @property
    def id(self) -> str:
        """Distinguishes it from all other groups of a workspace."""
        return f"{self.kind} {self.name}"

    @property
    def address(self) -> str:
        """Its own page."""
        return f"/{PAGE_OF[self.kind]}?name={quote(self.name)}"


@dataclass(frozen=True)
class Families:
    """What is known of runs when all of them are known.

    Attributes:
        names: what each is called.
        groups: the group of each that has one.
        words: the group of each in words: "comparison first", "teacher of gamma"; "" for none.
        teachers: what the teacher of each that has one is called.
        students: ids of the runs that each taught or is to teach.
    """

    names: dict[str, str]
    groups: dict[str, Group]
    words: dict[str, str]
    teachers: dict[str, str]
    students: dict[str, list[str]]


def families(rows: Iterable[Row]) -> Families:
    """Names and groups of all runs of a workspace.

    A teacher whose students are all of one group folds with them.
    """
    rows = list(rows)
    students: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.teacher_run:
            students[row.teacher_run].append(row.id)
    groups = {row.id: group for row in rows if (group := _group(row)) is not None}
    of_teachers = {row.id: {groups.get(each) for each in students[row.id]} for row in rows if row.id in students}
    for run_id, taught in of_teachers.items():
        if len(taught) == 1 and run_id not in groups and (group := next(iter(taught))) is not None:
            groups[run_id] = group
    names = {row.id: _name(row, row.id in of_teachers) for row in rows}
    networks = {row.id: row.student for row in rows}
    teachers = {row.id: networks.get(row.teacher_run or row.teacher, row.teacher) for row in rows if row.teacher}
    words = {row.id: groups[row.id].id if row.id in groups else "" for row in rows}
    words |= {run_id: _taught(students[run_id], of_teachers[run_id], names) for run_id in of_teachers}
    return Families(names, groups, words, teachers, {run_id: students[run_id] for run_id in of_teachers})


def _group(row: Row) -> Group | None:
    if row.comparison:
        return Group(COMPARISON, row.comparison)
    if row.race:
        return Group(RACE, row.race)
    return Group(STUDY, row.study) if row.study else None


def _name(row: Row, teaches: bool) -> str:
    """Who gave no name gets one of what the run is: its id is for machines."""
    if row.kind == STUDY:
        return row.study
    if row.title:
        group = f"{row.comparison}: " if row.comparison else f"{row.race}." if row.race else ""
        return _SEED.sub("", row.title.removeprefix(group)) if group else row.title
    if row.trial:
        return f"trial {row.trial}"
    if teaches:
        return f"teacher {row.student}"
    return " ".join(filter(None, (row.method if row.method != "none" else "", row.student))) or row.name or row.id


def _taught(students: list[str], taught: set[Group | None], names: dict[str, str]) -> str:
    """Whom a teacher teaches, in words."""
    if len(taught) == 1 and (group := next(iter(taught))) is not None:
        return f"teacher of {group.id}"
    if len(students) == 1:
        return f"teacher of {names.get(students[0], students[0])}"
    return f"teacher of {len(students)} runs"
