"""The table of runs as the browser gets it: JSON that assets/runs_table.js draws, sorts and folds.

What changes while runs are under way comes apart from the rest, so that a look at a thousand runs of which one trains
sends one line.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import orjson

from app import text
from app.board import Row
from app.families import Families
from kdengine.workspace.states import State

COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("state", "State", False),
    ("name", "Name", False),
    ("group", "Group", False),
    ("data", "Data", False),
    ("networks", "Teacher → student", False),
    ("method", "Method", False),
    ("seed", "Seed", True),
    ("best", "Best val.", True),
    ("test", "Test", True),
    ("time", "Time", True),
    ("when", "Added", False),
    ("tags", "Tags", False),
)
"""Key, title and whether it is a number, in the order of the table."""

_UNDER_WAY = (State.STARTING, State.RUNNING, State.STOPPING)
Cell = str | int | list[Any]
"""What is shown; or that and what it is sorted by, where that is another thing."""


def rows_as_json(rows: Iterable[Row], known: Families) -> str:
    """All rows without what changes from second to second, and the groups they fold into."""
    rows = list(rows)
    groups = {group.id: group for row in rows if (group := known.groups.get(row.id)) is not None}
    return _json(
        {
            "columns": COLUMNS,
            "rows": [_row(row, known) for row in rows],
            "groups": {key: {"kind": group.kind, "name": group.name, "href": group.address}
                       for key, group in groups.items()},
        }
    )  # fmt: skip


def live_as_json(rows: Iterable[Row], found: list[str] | None, chosen: str) -> str:
    """What changes all the time.

    Args:
        rows: all runs.
        found: ids that the search found; None without a search.
        chosen: id of the run that is open beside the table.
    """
    live = {row.id: _changing(row) for row in rows if row.state in _UNDER_WAY}
    return _json({"live": live, "found": found, "chosen": chosen})


def _json(value: Any) -> str:
    """JSON without ``<``: nothing in it can begin a tag, wherever it is put."""
    return orjson.dumps(value).decode().replace("<", "\\u003c")


def _row(row: Row, known: Families) -> dict[str, Any]:
    group = known.groups.get(row.id)
    networks = f"{known.teachers[row.id]} → {row.student}" if row.id in known.teachers else row.student
    cells: dict[str, Any] = {
        "id": row.id,
        "in": group.id if group else "",
        "kind": row.kind,
        "state": str(row.state),
        "name": known.names[row.id],
        "group": known.words[row.id],
        "data": row.data,
        "networks": networks,
        "method": row.method,
        "seed": row.seed,
        "when": [time.strftime("%d %b %H:%M", time.localtime(row.submitted)), row.submitted],
        "tags": list(row.tags),
        "damaged": row.damaged,
    }
    # What a row under way shows of these comes with `live_as_json`.
    cells |= {} if row.state in _UNDER_WAY else _changing(row)
    return {key: value for key, value in cells.items() if value not in (None, "", [])}


def _changing(row: Row) -> dict[str, Any]:
    cells = {
        "best": _share(row.best),
        "test": _share(row.test),
        "time": _time(row),
        "at": f"epoch {row.progress}" if row.progress and row.kind == "train" else row.progress,
        "stalled": row.stalled,
    }
    if row.state not in _UNDER_WAY and row.state != State.QUEUED:
        cells["at"] = ""
    return {key: value for key, value in cells.items() if value}


def _share(share: float | None) -> Cell | None:
    return None if share is None else [text.percent(share), round(share, 6)]


def _time(row: Row) -> Cell | None:
    if row.position:
        return [f"queue: {row.position}", row.position]
    if row.eta:
        return [f"{text.duration(row.eta)} left", row.seconds or 0.0]
    return None if row.seconds is None else [text.duration(row.seconds), round(row.seconds, 1)]
