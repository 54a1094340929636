"""Many images at once, files or zips of them, classified by several students; a table with a line for each."""

from __future__ import annotations

import csv
import io
import unicodedata
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from PIL import Image

from kdengine.csv_cells import text_cell
from kdengine.data.sources.containers import open_container
from kdengine.data.sources.image_files import EXTENSIONS
from kdengine.data.sources.left_out import is_hidden, is_image
from kdengine.errors import BadInput, DataError, Problem
from kdengine.evaluation.classifier import Classifier, Prediction, open_image

MAX_IMAGES = 10_000


@dataclass(frozen=True)
class Line:
    """What came of one file.

    Attributes:
        file: its name; inside a zip "archive.zip/path".
        predictions: of each student by name; {} where it cannot be read.
        problem: why not, in words.
        folder: of an archive in class folders, the one the image lies in; "" elsewhere.
        image: as it was read; None where it cannot be.
    """

    file: str
    predictions: dict[str, Prediction]
    problem: str = ""
    folder: str = ""
    image: Image.Image | None = None


@dataclass(frozen=True)
class Source:
    """A file to classify, or an archive of them.

    Attributes:
        name: as it is called.
        path: where it lies.
        members: its images, of an archive; None for a plain file.
        in_folders: whether its folders are classes.
        problem: why the archive cannot be read.
    """

    name: str
    path: Path
    members: tuple[str, ...] | None = None
    in_folders: bool = False
    problem: str = ""


def listed(classes: Collection[str], sources: Sequence[tuple[str, Path]]) -> list[Source]:
    """What there is to classify; an archive that is damaged or unsafe has a problem.

    Args:
        classes: of all students; an archive with a folder of such a name is in class folders.
        sources: (name, file): images, and zips of images; folders and files of other kinds in a zip are left out.

    Raises:
        BadInput: nothing to classify, or more than 10,000 images.
    """
    known = {normal(name) for name in classes}
    found = [_source(name, path, known) for name, path in sources]
    count = sum(1 if one.members is None else len(one.members) for one in found if not one.problem)
    if not count:
        refused = [Problem("images", one.problem) for one in found if one.problem]
        raise BadInput(
            refused or Problem("images", f"found no image; expected files or zips of {', '.join(sorted(EXTENSIONS))}")
        )
    if count > MAX_IMAGES:
        raise BadInput(Problem("images", f"found {count:,} images; at most {MAX_IMAGES:,} are taken at once"))
    return found


def classify_many(students: Mapping[str, Classifier], sources: Sequence[tuple[str, Path]]) -> Iterator[Line]:
    """`listed`, then `classify_listed`; raises BadInput before the first prediction."""
    classes = {name for classifier in students.values() for name in classifier.card.classes}
    return classify_listed(students, listed(classes, sources))


def classify_listed(students: Mapping[str, Classifier], sources: Sequence[Source]) -> Iterator[Line]:
    """Classifies every image by every student; one that cannot be read has a line that says so.

    Args:
        students: by the name they have in the table.
        sources: as `listed` returned them.
    """
    for source in sources:
        if source.problem:
            yield Line(source.name, {}, source.problem)
        elif source.members is None:
            yield _line(students, source.name, source.path)
        else:
            yield from _of_archive(students, source)


def _source(name: str, path: Path, classes: Collection[str]) -> Source:
    if not zipfile.is_zipfile(path):
        return Source(name, path)
    try:
        files = open_container(path, name).listing().files
    except DataError as error:
        return Source(name, path, (), problem="; ".join(error.problems))
    members = tuple(
        file for file in files if is_image(PurePosixPath(file).parts) and not is_hidden(PurePosixPath(file).parts)
    )
    return Source(name, path, members, any(_folder(member) in classes for member in members))


def _folder(member: str) -> str:
    """The folder that an image lies in, "" for none."""
    return normal(PurePosixPath(member).parent.name)


def normal(name: str) -> str:
    """A name as it compares: some systems store letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


def _of_archive(students: Mapping[str, Classifier], source: Source) -> Iterator[Line]:
    try:
        for member, content in open_container(source.path, source.name).read(set(source.members or ())):
            folder = _folder(member) if source.in_folders else ""
            yield _line(students, f"{source.name}/{member}", io.BytesIO(content), folder)
    except DataError as error:  # it breaks off: what came before it counts
        yield Line(source.name, {}, "; ".join(error.problems))


def _line(students: Mapping[str, Classifier], name: str, source: Path | io.BytesIO, folder: str = "") -> Line:
    try:
        image = open_image(source, name)
    except BadInput as error:
        return Line(name, {}, "; ".join(problem.message for problem in error.problems), folder)
    return Line(name, {student: classifier(image) for student, classifier in students.items()}, "", folder, image)


def write_table(file: IO[str], students: Sequence[str], lines: Iterator[Line], *, with_folders: bool = False) -> int:
    """Writes CSV: file, and of each student class and probability, then what was wrong; how many lines.

    ``with_folders`` adds the class folder behind the file.
    Names that a spreadsheet would take for a formula begin with an apostrophe.
    """
    writer = csv.writer(file)
    heads = [f"{student} {what}" for student in students for what in ("class", "probability")]
    writer.writerow(["file", *(["class folder"] if with_folders else []), *map(text_cell, heads), "problem"])
    count = 0
    for line in lines:
        cells = [text_cell(line.folder)] if with_folders else []
        for student in students:
            found = line.predictions.get(student)
            cells += [text_cell(found.top[0][0]), f"{found.top[0][1]:.4f}"] if found else ["", ""]
        writer.writerow([text_cell(line.file), *cells, text_cell(line.problem)])
        count += 1
    return count
