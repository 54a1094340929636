"""Durations and sizes as people read them, on every page and in every table of the shell."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """70.2 -> "1 min 10 s"; a dash for None."""
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


def size(number: float) -> str:
    """Bytes in decimal units, as disks and model cards have them: 950 -> "950 bytes", 6_200_000 -> "6.2 MB"."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number:.0f} bytes"


def memory(number: float) -> str:
    """Bytes of memory in the units that cards and modules of it are sold in: 40 << 30 -> "40.0 GB"."""
    unit, length = ("GB", 1 << 30) if number >= 1 << 30 else ("MB", 1 << 20)
    return f"{number / length:.1f} {unit}"
