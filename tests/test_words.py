"""The field's own words in what people read, so that old ones do not come back; the glossary is in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kdengine", "studies", "app")

# What is not said any more -> what is said.
OLD = {
    r"\bpictures?\b": "image",
    r"teacher replay|replayed (answer|logit|teacher)|stored answers?": "cached teacher logits",
    r"\b(right|same|early) answers?\b|\banswer(s|ed|ing)? (early|right|alike|differently|images?)\b": "prediction",
    r"(teacher|student|network|net|exit|head)('s)? answer(s|ed|ing)?\b": "prediction, logits or outputs",
    r"\bmend(s|ed|ing|able)?\b": "repair, fix or correct",
    r"\btwins?\b": "MLflow run",
    r"standardis": "standardiz",
    r"\bhangs? (on|together)\b": "depends on, is attached to",
}
# Named in files, flags and code of earlier versions, which keep working.
KEPT = (
    ("kdengine/inspection/recordings.py", "pictures.npz"),
    ("kdengine/commands/export.py", "--pictures"),
    ("kdengine/commands/inspect.py", "--pictures"),
    ("kdengine/commands/imports.py", "--mend"),
    ("kdengine/methods/grkd.py", "meta_pictures"),
    ("app/pages/launch/teacher.py", "own-teacher-mend"),
    ("docs/inspect.md", "pictures.npz"),
    ("kdengine/losses/__init__.py", "kd_standardised"),
    ("kdengine/losses/__init__.py", "standardise"),
)
NAMES = re.compile(r"^_*(MOST|LEAST|FEWEST)_|pictures?(_|$)|standardis|twin|(^|_)mend|Replayed|AnswerTable|Taught$")


def pages() -> list[Path]:
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return [page for page in found if "results" not in page.relative_to(ROOT).parts]


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of all that a person may read of a file: a page whole, of code docstrings and other strings."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text().splitlines(), start=1)
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every class, function, argument, variable and attribute of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def old_words(path: Path) -> Iterator[str]:
    place = path.relative_to(ROOT).as_posix()
    for line, text in texts(path):
        for word in (kept for file, kept in KEPT if file == place):
            text = text.replace(word, "")
        for old, new in OLD.items():
            for hit in re.finditer(old, text, re.IGNORECASE):
                yield f"{place}:{line + text.count(chr(10), 0, hit.start())}: {hit.group()!r}, say {new}"


def test_what_people_read_is_said_in_the_fields_words() -> None:
    found = [hit for path in (*pages(), *modules()) for hit in old_words(path)]
    assert not found, "\n".join(found)


def test_names_in_code_are_the_fields_words() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules()
        for line, name in names(path)
        if NAMES.search(name) and (path.relative_to(ROOT).as_posix(), name) not in KEPT
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("place, word", KEPT)
def test_what_is_kept_is_still_there(place: str, word: str) -> None:
    assert word in (ROOT / place).read_text(), f"{word} is gone from {place}: take it off the list"
