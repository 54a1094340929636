"""Who takes part: the engine with each switch, the loop that papers are built on, and two packages."""

from __future__ import annotations

import os
from importlib.util import find_spec

from kdengine.bench import Arm, Pair
from kdengine.bench.engine import Switches, engine_arm
from kdengine.bench.reference import reference_arm, step_only_arm
from kdengine.training.hardware import has_fast_bf16
from kdengine.tuning.precision import slower_in_bf16
from side_by_side.goals import (
    AGAIN,
    BF16,
    BF16_COMPILED,
    BF16_TEACHER,
    COMPILED,
    CONTIGUOUS,
    DIRECT,
    ENGINE,
    GRAPH,
    NOT_FOLDED,
    PLAIN,
    STEP_ONLY,
    TIMM,
    TIMM_COMPILED,
    TUNED,
)
from side_by_side.other_packages import timm_arm, torchdistill_arm


def pair_arms(pair: Pair, compile: bool) -> tuple[list[Arm], dict[str, Switches]]:
    """All arms that distil, and the engine's switches by name."""
    cores = len(os.sched_getaffinity(0))
    switches = {
        ENGINE: Switches(),
        AGAIN: Switches(),
        CONTIGUOUS: Switches(channels_last=False),
        NOT_FOLDED: Switches(fold=False),
    }
    if pair.device.type == "cpu":
        switches[DIRECT] = Switches(measured=False)
    if compile:
        switches[COMPILED] = Switches(compile=True)
    if pair.device.type == "cpu" and has_fast_bf16(pair.device):
        alone = slower_in_bf16(pair.new_student(), pair.batch_size, pair.cache)
        kind, name = ("bf16_teacher", BF16_TEACHER) if alone else ("bf16", BF16)
        switches[name] = Switches(**{kind: True})
        if compile:
            switches[f"{name}, compiled"] = Switches(compile=True, **{kind: True})
    if pair.device.type == "cuda":
        switches |= {
            "engine, graph": Switches(graph=True),
            BF16: Switches(bf16=True),
            BF16_COMPILED: Switches(bf16=True, compile=True),
            GRAPH: Switches(bf16=True, compile=True, graph=True),
        }
    arms = [
        reference_arm(PLAIN, pair, workers=2),
        reference_arm(TUNED, pair, workers=cores, tuned=True),
        step_only_arm(STEP_ONLY, pair),
        *([torchdistill_arm(pair, workers=2)] if find_spec("torchdistill") else []),
        timm_arm(TIMM, pair, compile=False),
        *([timm_arm(TIMM_COMPILED, pair, compile=True)] if compile else []),
        *(engine_arm(name, pair, each) for name, each in switches.items()),
    ]
    return arms, switches
