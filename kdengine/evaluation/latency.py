"""How long one forward pass takes, with its spread: for what is shown to people beside a prediction."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

WARM_UP, FEWEST, AT_MOST, BUDGET_S = 3, 5, 30, 0.4


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one pass.

    Attributes:
        median: of the passes.
        low, high: their quartiles: half of the passes lie between.
        passes: how many were timed.
    """

    median: float
    low: float
    high: float
    passes: int


@torch.no_grad()
def latency_of(call: Callable[[], object], device: torch.device | str = "cpu") -> Latency:
    """Times a call that computes on ``device``, warmed up before: `AT_MOST` times, fewer where it is slow.

    After `BUDGET_S` seconds it stops, but not before `FEWEST` passes.
    """
    for _ in range(WARM_UP):
        call()
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < FEWEST or (len(found) < AT_MOST and time.perf_counter() - began < BUDGET_S):
        start = time.perf_counter()
        call()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        found.append(1000 * (time.perf_counter() - start))
    low, _, high = statistics.quantiles(found, n=4)
    return Latency(statistics.median(found), low, high, len(found))
