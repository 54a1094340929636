"""How commands print: a table on a terminal, aligned plain text elsewhere, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[str]]


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


def _show_rich(columns: Sequence[str], rows: Rows) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as text: a name in brackets is no markup
    Console().print(table)
