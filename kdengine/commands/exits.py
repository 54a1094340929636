"""``kd eval --exits``: accuracy and cost of every exit of a self-distilled student, and of early exit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from kdengine import assembly
from kdengine.commands import tables
from kdengine.errors import KdError
from kdengine.evaluation.cost import training_frame
from kdengine.evaluation.early_exit import EarlyExit, evaluate_early, evaluate_exits
from kdengine.methods.base import BatchLike
from kdengine.workspace.rundir import RunDirectory

CONFIDENCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def measure(run: RunDirectory, batches: Callable[[], Iterable[BatchLike]], device: torch.device) -> dict[str, Any]:
    """Numbers of all exits by name, of the training frame, and of early exit; raises BadInput without exits.

    Args:
        batches: gives the batches anew each time: they are gone through once for each confidence.
    """
    student, method = assembly.load_with_exits(run)
    exits = method.to(device).exits()
    by_exit: dict[str, Any] = {
        name: result.summary() for name, result in evaluate_exits(student.to(device), exits, batches()).items()
    }
    numbers = {"exits": by_exit, "training_frame": training_frame(student, method)}
    try:
        early = EarlyExit(student, exits)
    except KdError as error:
        return numbers | {"early": [], "early_refused": str(error)}
    costs = early.costs()
    for cost in costs:
        by_exit[cost.name] |= {"parameters": cost.parameters, "macs": cost.macs, "milliseconds": cost.milliseconds}
    return numbers | {"early": [evaluate_early(early, costs, batches(), confidence) for confidence in CONFIDENCES]}


def show(numbers: dict[str, Any]) -> None:
    """Prints them as tables."""
    columns = ("exit", "accuracy", "ECE", "parameters", "MACs", "ms an image")
    rows = [_exit_row(name, exit_) for name, exit_ in numbers["exits"].items()]
    tables.show(columns, rows)
    frame = numbers["training_frame"]
    tables.show_pairs(
        [("training frame", f"{frame['parameters']:,} parameters, {frame['macs'] / 1e6:.1f} M MACs an image")]
    )
    if numbers["early"]:
        early = [
            (
                f"{row['confidence']:.2f}",
                _percent(row["accuracy"]),
                f"{row['macs'] / 1e6:.2f} M",
                _shares(row["shares"]),
            )
            for row in numbers["early"]
        ]
        tables.show(("exits at confidence", "accuracy", "mean MACs", "predicted by"), early)
    else:
        tables.show_pairs([("early exit", numbers["early_refused"])])


def _exit_row(name: str, numbers: dict[str, Any]) -> tuple[str, ...]:
    cost = ("", "", "")
    if "macs" in numbers:
        cost = f"{numbers['parameters']:,}", f"{numbers['macs'] / 1e6:.2f} M", f"{numbers['milliseconds']:.2f}"
    return (name, _percent(numbers["accuracy"]), _percent(numbers["ece"]), *cost)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
