"""Many pictures at once, files or zips of them, asked of several students; a table with a line for each."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kdengine.data.containers import open_container
from kdengine.errors import BadInput, DataError, Problem
from kdengine.evaluation.classifier import Answer, Classifier, open_picture

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_PICTURES = 10_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Line:
    """What came of one picture.

    Attributes:
        file: its name; inside a zip "archive.zip/path".
        answers: of each student by name; {} where the picture cannot be read.
        problem: why not, in words.
    """

    file: str
    answers: dict[str, Answer]
    problem: str = ""


def classify_many(students: Mapping[str, Classifier], sources: Sequence[tuple[str, Path]]) -> Iterator[Line]:
    """Asks every student about every picture; one that cannot be read has a line that says so.

    Args:
        students: by the name they have in the table.
        sources: (name, file): pictures, and zips of pictures; folders and files of other kinds in a zip are left out.

    Raises:
        BadInput: nothing to classify, more than 10,000 pictures, or an archive that is damaged or unsafe; before the
            first answer.
    """
    listed = [(name, path, _members(name, path)) for name, path in sources]
    count = sum(1 if members is None else len(members) for _, _, members in listed)
    if not count:
        raise BadInput(Problem("pictures", f"found no picture; expected files or zips of {', '.join(ENDINGS)}"))
    if count > MOST_PICTURES:
        raise BadInput(Problem("pictures", f"found {count:,} pictures; at most {MOST_PICTURES:,} are taken at once"))
    return _answers(students, listed)


def _members(name: str, path: Path) -> list[str] | None:
    """The pictures in a zip; None for a plain file."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        files = open_container(path, name).listing().files
    except DataError as error:
        raise BadInput([Problem("pictures", problem) for problem in error.problems]) from error
    return [file for file in files if file.lower().endswith(ENDINGS) and not _hidden(file)]


def _hidden(file: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in file.split("/"))


def _answers(
    students: Mapping[str, Classifier], listed: Sequence[tuple[str, Path, list[str] | None]]
) -> Iterator[Line]:
    for name, path, members in listed:
        if members is None:
            yield _line(students, name, path)
            continue
        for member, content in open_container(path, name).read(set(members)):
            yield _line(students, f"{name}/{member}", io.BytesIO(content))


def _line(students: Mapping[str, Classifier], name: str, source: Path | io.BytesIO) -> Line:
    try:
        picture = open_picture(source, name)
    except BadInput as error:
        return Line(name, {}, "; ".join(problem.message for problem in error.problems))
    return Line(name, {student: classifier(picture) for student, classifier in students.items()})


def write_table(file: IO[str], students: Sequence[str], lines: Iterator[Line]) -> int:
    """Writes CSV: file, and of each student class and probability, then what was wrong; how many lines.

    Names that a spreadsheet would take for a formula begin with an apostrophe.
    """
    writer = csv.writer(file)
    heads = [f"{student} {what}" for student in students for what in ("class", "probability")]
    writer.writerow(["file", *map(_plain, heads), "problem"])
    count = 0
    for line in lines:
        cells = []
        for student in students:
            answer = line.answers.get(student)
            cells += [_plain(answer.top[0][0]), f"{answer.top[0][1]:.4f}"] if answer else ["", ""]
        writer.writerow([_plain(line.file), *cells, _plain(line.problem)])
        count += 1
    return count


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell
