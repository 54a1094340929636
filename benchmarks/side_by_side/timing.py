"""Pairs, the data path and single networks, timed in turns."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch

from kdengine.bench import Measured, Pair, measure, report
from kdengine.bench.ceilings import Ceilings
from kdengine.bench.engine import Switches, cached_arm, engine_arm, gather_arm
from kdengine.bench.gates import Gate, gates
from kdengine.bench.reference import pil_arm
from kdengine.bench.rounds import SETTLING
from side_by_side.arms import pair_arms
from side_by_side.goals import AGAIN, CACHED, GATHER, GATHER_COMPILED, PIL, PLAIN, STORING, Part

WARM_UP = 3
DATA_PATH = "the data path alone, 32 px, batches of 128"


def time_pair(pair: Pair, rounds: int, steps: int, compile: bool, limits: Ceilings) -> Part:
    """Gates, then all arms of one pair in turns; cached teacher logits among them."""
    arms, switches = pair_arms(pair, compile)
    passed = [check(gate) for gate in gates(pair, {name: each for name, each in switches.items() if name != AGAIN})]
    # Logits are cached for the quickest engine whose step is not recorded: each is compared with its own kind.
    kind = Switches(compile=compile, bf16=compile and pair.device.type == "cuda")
    live = next(name for name, each in switches.items() if each == kind)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        arms.append(cached_arm(CACHED, pair, kind, Path(folder), stack, WARM_UP + rounds * (steps + SETTLING)))
        arms.append(cached_arm(STORING, pair, kind, Path(folder), stack))
        measured = measure(arms, device=pair.device, rounds=rounds, steps=steps, warm_up=WARM_UP, report=print)
    for arm in arms:
        arm.close()
    found = report.rows(measured, PLAIN)
    reduced = {name for name, each in switches.items() if each.bf16 or each.bf16_teacher}
    add_shares(found, measured, pair, limits, {CACHED}, reduced | ({CACHED, STORING} if kind.bf16 else set()))
    return {"pair": str(pair), "gates": passed, "arms": found, "replay": break_even(measured, live, pair.device)}


def add_shares(
    found: list[Part], measured: Measured, pair: Pair, limits: Ceilings, read: set[str], reduced: set[str]
) -> None:
    """Shares of roofline and peak for the arms that compute in the precision in which the ceilings were measured."""
    beyond = reduced if limits.bytes_each == 4 else set(measured.turns) - reduced
    report.add_shares(found, measured, pair, limits, read, beyond)


def break_even(measured: Measured, live: str, device: torch.device) -> Part:
    """What storing logits costs beside a live run, and after how many runs it is paid for; CPU time, wall on a GPU."""
    clock = "wall" if device.type == "cuda" else "cpu"
    asked, storing, cached = (
        statistics.median(getattr(turn, clock) for turn in measured.turns[name]) for name in (live, STORING, CACHED)
    )
    gain = asked - cached
    return {
        "filling_over_live": round(storing / asked, 3),
        "live_over_replayed": round(asked / cached, 2),
        "runs_to_break_even": round((storing - cached) / gain, 2) if gain > 0 else None,
    }


def time_data(rounds: int, compile: bool, device: torch.device) -> Part:
    """The data path alone: 32 px, crop with a margin of 4, mirrored, normalised, batches of 128."""
    pair = Pair("resnet8x4", "resnet8x4", batch_size=128, device=device)
    arms = [
        pil_arm(PIL, pair, 0),
        pil_arm(f"{PIL}, 2 workers", pair, 2),
        gather_arm(GATHER, pair, compile=False),
        gather_arm("gather (A/A)", pair, compile=False),
        *([gather_arm(GATHER_COMPILED, pair, compile=True)] if compile else []),
    ]
    measured = measure(arms, device=pair.device, rounds=rounds, steps=8, report=print)
    for arm in arms:
        arm.close()
    return {"pair": DATA_PATH, "arms": report.rows(measured, PIL)}


def time_alone(pair: Pair, rounds: int, steps: int, switches: dict[str, Switches], limits: Ceilings) -> Part:
    """A network that is trained without a teacher: shares of the roofline."""
    arms = [engine_arm(name, pair, each, "none") for name, each in switches.items()]
    measured = measure(arms, device=pair.device, rounds=rounds, steps=steps, warm_up=WARM_UP, report=print)
    found = report.rows(measured, next(iter(switches)))
    reduced = {name for name, each in switches.items() if each.bf16}
    add_shares(found, measured, pair, limits, set(switches), reduced)
    return {"pair": f"{pair.student} alone, {str(pair).split(', ', 1)[1]}", "arms": found}


def check(gate: Gate) -> Part:
    """Prints a gate; ends everything when it is shut."""
    print(gate)
    if not gate.passed:
        raise SystemExit(f"the arms do not do the same: {gate}")
    return gate._asdict()
