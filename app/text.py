"""How numbers and words look on every page: percent with one decimal, times as 1 min 10 s, sizes in MB, all escaped."""

from __future__ import annotations

import html
import time
from typing import Any


def escape(value: Any) -> str:
    """Text that may stand in HTML."""
    return html.escape(str(value), quote=True)


def percent(share: float | None) -> str:
    """0.9812 -> "98.1 %"; a dash for nothing."""
    return "–" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float | None) -> str:
    """70.2 -> "1 min 10 s"."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def ago(moment: float | None, now: float | None = None) -> str:
    """A moment (seconds since the epoch) as "12 s ago"."""
    if moment is None:
        return "never"
    return f"{duration((now or time.time()) - moment)} ago"


def count(number: float) -> str:
    """1528106 -> "1.5 M", 40800000 -> "40.8 M", 950 -> "950"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes as MB, or GB from one thousand of them."""
    megabytes = number / 1e6
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.1f} MB"


def times(ratio: float) -> str:
    """How many times: 14.2 -> "14x", 1.64 -> "1.6x"."""
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x"
