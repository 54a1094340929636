"""What was measured, in words and numbers: medians, ranges, and ratios to one of the arms."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from kdengine.bench.rounds import Measured

HEAD = ("arm", "pictures/s", "by CPU time", "by wall clock")


def rows(measured: Measured, base: str) -> list[dict[str, Any]]:
    """For each arm: pictures a second (wall, median), and how many times as fast as ``base`` in each round."""
    return [
        {
            "arm": name,
            "images_per_s": round(measured.images_per_second(name), 1),
            "cpu_ratio": [round(ratio, 3) for ratio in measured.ratios(name, base)],
            "wall_ratio": [round(ratio, 3) for ratio in measured.ratios(name, base, "wall")],
        }
        for name in measured.turns
    ]


def median(values: Sequence[float]) -> float:
    """Of the ratios of an arm."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Median with range: ``1.42 [1.37-1.51]``."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def cells(found: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows as texts, in the order of `HEAD`."""
    return [
        (row["arm"], f"{row['images_per_s']:,.0f}", spread(row["cpu_ratio"]), spread(row["wall_ratio"]))
        for row in found
    ]


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
