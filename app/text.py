"""How numbers are written on every page: percent with one decimal, times as 1 min 10 s, sizes in MB, all escaped."""

from __future__ import annotations

import html
import time
from typing import Any

from kdengine.units import duration, memory, size

__all__ = ["ago", "count", "duration", "escape", "memory", "percent", "size", "times", "value"]


def escape(value: Any) -> str:
    """Text that may stand in HTML."""
    return html.escape(str(value), quote=True)


def percent(share: float | None) -> str:
    """0.9812 -> "98.1 %"; a dash for nothing."""
    return "–" if share is None else f"{100 * share:.1f} %"


def ago(moment: float | None, now: float | None = None) -> str:
    """A moment (seconds since the epoch) as "12 s ago"."""
    if moment is None:
        return "never"
    return f"{duration((now or time.time()) - moment)} ago"


def count(number: float) -> str:
    """1528106 -> "1.5 M", 40800000 -> "40.8 M", 950 -> "950"."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number:.0f}"


def times(ratio: float) -> str:
    """How many times: 14.2 -> "14x", 1.64 -> "1.6x"."""
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def value(setting: Any) -> str:
    """A setting of an experiment, short: 0.0833333 -> "0.08333", True -> "on", [150, 180] -> "150, 180"."""
    if isinstance(setting, bool):
        return "on" if setting else "off"
    if isinstance(setting, list | tuple):
        return ", ".join(map(value, setting))
    if isinstance(setting, float):
        return f"{setting:.4g}"
    return "none" if setting is None else str(setting)
