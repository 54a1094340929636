"""What was measured, in words and numbers: medians, ranges, and ratios to one of the arms."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Sequence
from typing import Any

import torch

from kdengine.bench.ceilings import Ceilings
from kdengine.bench.pair import Pair
from kdengine.bench.roofline import operations, seconds, work
from kdengine.bench.rounds import Measured

HEAD = ("arm", "images/s", "by CPU time", "by wall clock")
SHARES = ("of roofline", "of peak")


def rows(measured: Measured, base: str) -> list[dict[str, Any]]:
    """For each arm: images a second (wall, median), and how many times as fast as ``base`` in each round."""
    return [
        {
            "arm": name,
            "images_per_s": round(measured.images_per_second(name), 1),
            "cpu_ratio": [round(ratio, 3) for ratio in measured.ratios(name, base)],
            "wall_ratio": [round(ratio, 3) for ratio in measured.ratios(name, base, "wall")],
        }
        for name in measured.turns
    ]


def add_shares(
    found: list[dict[str, Any]],
    measured: Measured,
    pair: Pair,
    limits: Ceilings,
    read: Container[str],
    beyond: Container[str] = (),
) -> None:
    """Writes into each row which share of the roofline and of peak arithmetic its arm reached, 0..1.

    Args:
        found: of `rows`.
        measured: by the same arms.
        limits: of the machine, from the same run.
        read: names of the arms whose teacher is read, not computed.
        beyond: names of the arms that compute in another precision than the ceilings were measured in; they get None.
    """
    student, teacher = (work(net) for net in (pair.new_student(), pair.new_teacher()))
    for row in found:
        if row["arm"] in beyond:
            row |= {"roofline_share": None, "mfu": None}
            continue
        asked = None if row["arm"] in read else teacher
        speed = measured.images_a_second(row["arm"], pair.device, torch.get_num_threads())
        row["roofline_share"] = round(speed * seconds(student, asked, limits, pair.batch_size), 3)
        row["mfu"] = round(speed * operations(student, asked) / limits.flops, 3)


def spread(values: Sequence[float]) -> str:
    """Median with range: ``1.42 [1.37-1.51]``."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def cells(found: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows as texts, in the order of `HEAD`."""
    return [
        (row["arm"], f"{row['images_per_s']:,.0f}", spread(row["cpu_ratio"]), spread(row["wall_ratio"]))
        for row in found
    ]


def cells_with_shares(found: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The same with the shares, in the order of `HEAD` and `SHARES`."""
    more = [tuple(_percent(row[share]) for share in ("roofline_share", "mfu")) for row in found]
    return [(*line, *shares) for line, shares in zip(cells(found), more, strict=True)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
