"""Which of several calls is the fastest: in turns, the least time of each, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

ROUNDS = 3
HOPELESS = 1.5
"""A candidate that takes so many times the least is not called again."""
MARGIN = 0.05
"""Share of the time that a candidate must save before it is preferred to what is exact and simple."""

Clock = Callable[[], float]


class Budget:
    """Seconds that measuring may take, from now on."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def spent(self) -> bool:
        """Whether nothing more is to be begun."""
        return time.monotonic() >= self._ends


def least_seconds(candidates: Mapping[str, Callable[[], object]], budget: Budget) -> dict[str, float]:
    """The least seconds that a call of each candidate takes, measured in turns; each is called once before.

    Candidates that are far behind are left out of further turns. When the budget is spent the turns end; only what was
    timed is returned, {} when that is nothing.
    """
    clock = own_clock()
    taken: dict[str, float] = {}
    for call in candidates.values():
        if budget.spent:
            return {}
        call()
    going = dict(candidates)
    for _ in range(ROUNDS):
        for name, call in going.items():
            if budget.spent:
                return taken if len(taken) == len(candidates) else {}
            began = clock()
            call()
            taken[name] = min(taken.get(name, float("inf")), clock() - began)
        least = min(taken.values())
        going = {name: call for name, call in going.items() if taken[name] <= HOPELESS * least}
    return taken


def preferred(taken: Mapping[str, float], usual: str) -> str:
    """The fastest; what is usual where none saves more than `MARGIN` of its time, or nothing was timed."""
    if usual not in taken:
        return usual
    quickest = min(taken, key=lambda name: taken[name])
    return quickest if taken[quickest] < (1 - MARGIN) * taken[usual] else usual


def own_clock() -> Clock:
    """This thread's own time where it computes alone: what other programs take of the machine does not count."""
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
