"""A suite, part by part: what is measured is kept at once, so that a run cut off goes on where it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from side_by_side.goals import Part

SAME = ("source", "torch", "threads", "rounds", "steps", "compile")
"""What must be equal for a part to stand for the one that is asked for."""


def measure_parts(
    planned: Mapping[str, Callable[[], Part]],
    earlier: list[Part],
    run: Part,
    keep: Callable[[list[Part]], None],
    *,
    only: str = "",
    resume: bool = False,
    minutes: float | None = None,
    told: Callable[[str], None] = print,
) -> list[Part]:
    """Measures what is planned, and gives all parts there are then.

    Args:
        planned: measurings by the beginning of their part's name.
        earlier: parts of this machine; each stays until it is measured anew.
        run: what is said of each part that is measured now: command, machine, versions, `SAME`.
        keep: is given all parts after each one.
        only: the parts whose planned name holds this.
        resume: leaves out parts that were measured by the same code with the same settings.
        minutes: begins no part after these.
        told: hears of the parts that are left out.
    """
    began = time.monotonic()
    parts = {part["pair"]: part for part in earlier}
    for name, measuring in planned.items():
        if only not in name:
            continue
        there = next((part for pair, part in parts.items() if pair.startswith(name) and _same(part, run)), None)
        if resume and there is not None:
            told(f"kept: {name}, measured on {there['measured']['date']}")
            continue
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            told(f"left for the next call: {name}")
            continue
        date, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
        part = measuring()
        part |= {"measured": run | {"date": date, "load": [load, os.getloadavg()[0]]}}
        parts[part["pair"]] = part
        keep(list(parts.values()))
    return list(parts.values())


def _same(part: Part, run: Part) -> bool:
    measured = part["measured"]
    return all(key in measured and measured[key] == run[key] for key in SAME)
