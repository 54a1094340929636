"""Which settings differ between runs, as a table: settings down, runs across."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from app import boxes, text
from kdengine.spec import flatten

MAX_RUNS = 10
LONG_NUMBER = 7
NOT_SET = "–"
# What a run is called is no setting of the experiment.
_LEFT_OUT = frozenset({"version", "title", "teacher.spec.title"})


class Compared(NamedTuple):
    """A run whose settings are compared: its id, what it is called, its experiment as a plain mapping, and results."""

    id: str
    name: str
    spec: dict[str, Any]
    best: float | None
    test: float | None


def differing(runs: Iterable[Compared]) -> dict[str, list[str]]:
    """The settings that are not the same in all runs, by dotted path, each with its exact value in every run."""
    settings = [dict(flatten(run.spec)) for run in runs]
    paths = dict.fromkeys(path for each in settings for path in each if path not in _LEFT_OUT)
    values = {path: [_written(each.get(path, NOT_SET)) for each in settings] for path in paths}
    return {path: found for path, found in values.items() if len(set(found)) > 1}


def table(runs: list[Compared]) -> str:
    """The table as HTML; one sentence where nothing differs."""
    unreadable = [run.name for run in runs if not run.spec]
    runs = [run for run in runs if run.spec]
    said = boxes.warnings([f"The settings of {name} cannot be read." for name in unreadable])
    if len(runs) < 2:
        return said + boxes.note("Two runs with settings are needed.")
    found = differing(runs)
    if not found:
        return said + boxes.note(f"All settings of these {len(runs)} runs are the same.")
    e = text.escape
    head = "".join(f'<th scope="col"><a href="/runs?run={e(run.id)}">{e(run.name)}</a></th>' for run in runs)
    results = {
        "best validation": [text.percent(run.best) for run in runs],
        "test": [text.percent(run.test) for run in runs],
    }
    body = "".join(_line(title, values, "result") for title, values in results.items())
    body += "".join(_line(path, values, "setting") for path, values in found.items())
    count = "1 setting differs" if len(found) == 1 else f"{len(found)} settings differ"
    return (
        f'{said}<p class="kd-facts">{count}; all others are the same.</p><div class="kd-tablebox" tabindex="0">'
        f'<table class="kd-table kd-differences"><thead><tr><th scope="col">Setting</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _line(title: str, values: list[str], kind: str) -> str:
    cells = "".join(f'<td title="{text.escape(value)}">{text.escape(_short(value))}</td>' for value in values)
    return f'<tr class="{kind}"><th scope="row">{text.escape(title)}</th>{cells}</tr>'


def _short(value: str) -> str:
    """A number with four digits that count; all of them stand in the cell's title."""
    try:
        return f"{float(value):.4g}" if "." in value and len(value) > LONG_NUMBER else value
    except ValueError:
        return value


def _written(value: Any) -> str:
    """A value as YAML has it, in one line; nothing and what is not there are the same."""
    if value is None:
        return NOT_SET
    return str(value).lower() if isinstance(value, bool) else str(value)
