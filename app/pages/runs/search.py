"""The small language of the search line: ``method:grkd acc>0.9 tag:paper`` and free words, all of which must hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from app.board import Row
from app.families import Families

_COMPARED = re.compile(r"(?P<negated>-?)(?P<field>[A-Za-z_]+)\s*(?P<sign><=|>=|!=|<|>|=)\s*(?P<value>.*)\Z")
_NAMED = re.compile(r"(?P<negated>-?)(?P<field>[A-Za-z_]+):(?P<value>.*)\Z")
_SPACED = re.compile(r"\s*(<=|>=|!=|<|>|=)\s*")
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>%|s|min|h|d)?\Z")

Text = Callable[[Row, Families], tuple[str, ...]]
TEXTS: dict[str, Text] = {
    "name": lambda row, known: (known.names[row.id],),
    "state": lambda row, known: (str(row.state), *(["stalled"] if row.stalled else [])),
    "method": lambda row, known: (row.method,),
    "data": lambda row, known: (row.data, row.dataset),
    "student": lambda row, known: (row.student,),
    "teacher": lambda row, known: (known.teachers.get(row.id, ""), known.names.get(row.teacher_run, "")),
    "group": lambda row, known: (known.words[row.id],),
    "study": lambda row, known: (row.study,),
    "comparison": lambda row, known: (row.comparison,),
    "tag": lambda row, known: row.tags,
    "notes": lambda row, known: (row.notes,),
    "owner": lambda row, known: (row.owner,),
    "id": lambda row, known: (row.id,),
}
"""Texts by name: ``method:kd``. A tag, state, method or network must be the whole word, with ``*`` for any end."""

NUMBERS: dict[str, Callable[[Row], float | None]] = {
    "acc": lambda row: row.best,
    "val": lambda row: row.best,
    "test": lambda row: row.test,
    "seed": lambda row: row.seed,
    "time": lambda row: row.seconds,
}
"""Numbers by name: ``acc>0.9``, ``test>=90%``, ``time<10min``, ``seed=3``."""

_WITHIN = frozenset({"name", "notes", "group", "id"})
_SIGNS: Mapping[str, Callable[[float, float, float], bool]] = {
    "<": lambda a, b, close: a < b,
    ">": lambda a, b, close: a > b,
    "<=": lambda a, b, close: a <= b + close,
    ">=": lambda a, b, close: a >= b - close,
    "=": lambda a, b, close: abs(a - b) <= close,
    "!=": lambda a, b, close: abs(a - b) > close,
}
_CLOSE = {"time": 0.5, "seed": 0.0}
"""Numbers that the table shows alike are equal: to the second, and by default to a tenth of a percent."""
EXAMPLES = ("state:running", "method:kd acc>0.9", "tag:paper -state:failed", "test>=90% time<10min")


class Condition(NamedTuple):
    """One word of a query: whether it holds for a run."""

    holds: Callable[[Row, Families], bool]


@dataclass(frozen=True)
class Query:
    """A query that was read.

    Attributes:
        conditions: all must hold; none: every run is found.
        problems: what of it could not be read, in words; it is left out of the conditions.
    """

    conditions: tuple[Condition, ...]
    problems: tuple[str, ...]

    def finds(self, row: Row, known: Families) -> bool:
        """Whether a run is found."""
        return all(condition.holds(row, known) for condition in self.conditions)


def read_query(line: str) -> Query:
    """Reads a line; never raises: what cannot be read is told in ``problems``."""
    conditions: list[Condition] = []
    problems: list[str] = []
    for word in _words(line, problems):
        found = _condition(word)
        if isinstance(found, str):
            problems.append(found)
        else:
            conditions.append(found)
    return Query(tuple(conditions), tuple(problems))


def _words(line: str, problems: list[str]) -> list[str]:
    """Words of a line; what stands in quotes is one, and a sign may have spaces around it."""
    reader = shlex.shlex(_SPACED.sub(r"\1", line), posix=True)
    reader.whitespace_split, reader.commenters, reader.quotes, reader.escape = True, "", '"', ""
    try:
        return list(reader)
    except ValueError:
        problems.append('A quotation mark is not closed; write "two words".')
        return line.replace('"', " ").split()


def _condition(word: str) -> Condition | str:
    """The condition that a word stands for, or what is wrong with it."""
    if compared := _COMPARED.match(word):
        found = _compared(compared["field"], compared["sign"], compared["value"])
    elif compared := _NAMED.match(word):
        found = _named(compared["field"].lower(), compared["value"], word)
    else:
        negated = len(word) > 1 and word.startswith("-")
        return _negated(_anywhere(word[1:] if negated else word), negated)
    return found if isinstance(found, str) else _negated(found, bool(compared["negated"]))


def _compared(field: str, sign: str, value: str) -> Condition | str:
    name = field.lower()
    if name in TEXTS:
        if sign in ("=", "!="):
            equal = _named(name, value, f"{field}{sign}{value}")
            return equal if isinstance(equal, str) else _negated(equal, sign == "!=")
        return f"{field} is no number; write {name}:{value or 'word'}."
    if name not in NUMBERS:
        return _unknown(field)
    number = _number(value, name)
    if isinstance(number, str):
        return number
    read, holds, close = NUMBERS[name], _SIGNS[sign], _CLOSE.get(name, 5e-4)

    def compare(row: Row, known: Families) -> bool:
        found = read(row)
        return found is not None and holds(found, number, close)

    return Condition(compare)


def _number(value: str, field: str) -> float | str:
    """A number as it is compared: shares 0..1, seconds. Accuracies may be given in percent."""
    found = _NUMBER.match(value.strip())
    timed = field == "time"
    if found is None or ((found["unit"] == "%") == timed and found["unit"] is not None):
        wanted = "a time such as 90s, 10min or 2h" if timed else "a number such as 0.9 or 90%"
        return f"{field} is compared with {value!r}, expected {wanted}."
    number, unit = float(found["number"]), found["unit"]
    if timed:
        return number * _UNITS[unit or "s"]
    if unit == "%" or (field != "seed" and number > 1):
        return number / 100
    return number


def _named(field: str, value: str, word: str) -> Condition | str:
    if field in NUMBERS:
        return _compared(field, "=", value)
    if field not in TEXTS:
        return _unknown(field)
    if not value:
        return f"{word} names nothing; write {field}:word."
    read, wanted = TEXTS[field], value.casefold()
    start = wanted.removesuffix("*")

    def match(row: Row, known: Families) -> bool:
        texts = [text.casefold() for text in read(row, known)]
        if field in _WITHIN:
            return any(start in text for text in texts)
        return any(text.startswith(start) if wanted.endswith("*") else text == wanted for text in texts)

    return Condition(match)


def _anywhere(word: str) -> Condition:
    wanted = word.casefold()

    def match(row: Row, known: Families) -> bool:
        return any(wanted in text.casefold() for read in TEXTS.values() for text in read(row, known))

    return Condition(match)


def _negated(condition: Condition, negated: bool) -> Condition:
    return Condition(lambda row, known: not condition.holds(row, known)) if negated else condition


def _unknown(field: str) -> str:
    near = get_close_matches(field.lower(), [*TEXTS, *NUMBERS], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*TEXTS, *NUMBERS])}."
    return f"There is no field {field!r}; {hint}"
