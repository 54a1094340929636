"""How commands print: a table on a terminal, aligned plain text elsewhere, JSON when asked; and numbers in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[str]]

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


def show(columns: Sequence[str], rows: Rows) -> None:
    """Prints rows under their columns; on a terminal as a table that wraps, elsewhere one line a row."""
    if sys.stdout.isatty():
        _show_rich(columns, rows)
    else:
        sys.stdout.write(plain([columns, *rows]))


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Prints names and values, one pair a line; empty values are left out."""
    sys.stdout.write(plain([pair for pair in pairs if pair[1]]))


def show_json(content: Any) -> None:
    """Prints JSON; enums and paths as text."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def plain(rows: Rows) -> str:
    """Lines of cells, each column as wide as its widest cell; the last is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def duration(seconds: float) -> str:
    """Seconds in words of one unit: 45 s, 12 min, 3.5 h, 2 d."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{_short(seconds / length)} {unit}"
    return f"{max(0, seconds):.0f} s"


def size(number: float) -> str:
    """Bytes in words: 4.9 MB, 12 GB."""
    for length, unit in _SIZES:
        if number >= length:
            return f"{_short(number / length)} {unit}"
    return f"{number:.0f} bytes"


def _short(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"


def _show_rich(columns: Sequence[str], rows: Rows) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as text: a name in brackets is no markup
    Console().print(table)
