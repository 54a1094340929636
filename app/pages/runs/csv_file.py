"""Rows of the table as CSV, for a spreadsheet or pandas."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import datetime
from io import StringIO

from app.board import Row
from app.families import Families
from kdengine.csv_cells import text_cell

COLUMNS = (
    *("id", "name", "state", "group", "data", "teacher", "student", "method", "seed"),
    *("best_validation", "test", "seconds", "added", "tags", "notes"),
)


def as_csv(rows: Iterable[Row], known: Families) -> str:
    """The rows with a line of titles; accuracies are 0..1, times seconds, "added" is ISO 8601 in local time."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        added = datetime.fromtimestamp(row.submitted).astimezone().isoformat(timespec="seconds")
        writer.writerow(
            [
                *map(text_cell, (row.id, known.names[row.id], str(row.state), known.words[row.id], row.data)),
                *map(text_cell, (known.teachers.get(row.id, ""), row.student, row.method)),
                *(_number(value) for value in (row.seed, row.best, row.test, row.seconds)),
                added,
                *map(text_cell, (" ".join(row.tags) if row.tags else "", row.notes)),
            ]
        )
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
