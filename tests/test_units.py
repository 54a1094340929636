"""Durations and sizes by hand values: the same on a page and in a shell."""

from __future__ import annotations

import pytest

from app import text
from kdengine import units


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (70.2, "1 min 10 s"), (3720, "1 h 02 min"), (90000, "1 d 1 h"), (-3, "0 s")],
)
def test_durations(given: float, shown: str) -> None:
    assert units.duration(given) == text.duration(given) == shown


def test_sizes_are_decimal_and_memory_is_not() -> None:
    assert [units.size(n) for n in (950, 1_500, 6_200_000, 2.5e9)] == ["950 bytes", "1.5 kB", "6.2 MB", "2.5 GB"]
    assert [units.memory(n) for n in (512 << 20, 40 << 30)] == ["512.0 MB", "40.0 GB"]
    assert units.duration(None) == "–"
