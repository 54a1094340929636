"""What a run of a pair would choose on this machine, and why: ``kd bench --explain``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kdengine.bench.engine import Switches, cached_teacher, engine_arm, loader
from kdengine.bench.pair import Pair
from kdengine.bench.rounds import measure
from kdengine.models.folding import folded
from kdengine.models.ways import DIRECT
from kdengine.tuning.convolutions import choose_ways
from kdengine.tuning.layout import CHANNELS_LAST, LAYOUTS, choose_layout

BUDGET_S = 60.0
HEAD = ("convolutions of the teacher", "layers", "chosen", "directly", "chosen takes", "others")


def explain(pair: Pair, cache: Path, reduced: torch.dtype | None = None) -> dict[str, Any]:
    """Measures, or reads what was measured before, and gives it as JSON can hold it.

    Args:
        pair: on a CPU; elsewhere nothing is chosen.
        cache: folder of the workspace.
        reduced: what the teacher computes in; None = float32.
    """
    if pair.device.type != "cpu":
        return {"layout": {"way": CHANNELS_LAST, "times": {}}, "teacher": []}
    layout, times = choose_layout(pair.new_student(), pair.batch_size, cache, None, BUDGET_S)
    net = folded(pair.new_teacher().to(memory_format=LAYOUTS[layout]))
    choices = choose_ways(net, pair.batch_size, cache, reduced, BUDGET_S)
    return {
        "layout": {"way": layout, "times": dict(times)},
        "teacher": [asdict(choice) for choice in choices],
        "cached_logits": _cached_logits(pair),
    }


def compiled(pair: Pair, rounds: int, steps: int) -> dict[str, float]:
    """Seconds of a step of the pair, eager and compiled in turns, and of compiling; takes as long as compiling does."""
    eager, quick = engine_arm("eager", pair, Switches()), engine_arm("compiled", pair, Switches(compile=True))
    began = time.perf_counter()
    quick.step()
    start = time.perf_counter() - began
    measured = measure([eager, quick], device=pair.device, rounds=rounds, steps=steps)
    both = {arm.name: pair.batch_size / measured.images_a_second(arm.name, pair.device, torch.get_num_threads())
            for arm in (eager, quick)}  # fmt: skip
    return both | {"compiling": max(0.0, start - both["compiled"])}


def _cached_logits(pair: Pair) -> dict[str, float]:
    """Median seconds in which a batch's logits of the teacher are read and asked."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        batches = loader(pair, Switches())
        quick = cached_teacher("explained", pair, Switches(), batches, Path(folder), stack)
        rows = torch.arange(pair.batch_size)
        view = batches.views_at(rows, torch.zeros_like(rows))
        read, asked = quick.seconds(view, rows, torch.zeros_like(rows))
    return {"read": read, "asked": asked}


def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The teacher's convolutions as lines of a table, in the order of `HEAD`."""
    for choice in found["teacher"]:
        times = choice["times"]
        others = sorted((way for way in times if way not in (DIRECT, choice["way"])), key=lambda way: times[way])
        yield (
            choice["what"], str(len(choice["layers"])), choice["way"], _ms(times.get(DIRECT)),
            _ms(times.get(choice["way"])), ", ".join(f"{way} {_ms(times[way])}" for way in others),
        )  # fmt: skip


def layout_line(found: dict[str, Any]) -> str:
    """The student's layout in a sentence."""
    times = found["layout"]["times"]
    measured = ", ".join(f"{name} {_ms(seconds)}" for name, seconds in times.items()) or "not measured"
    return f"Student, images and teacher are laid out {found['layout']['way']}: forward and backward {measured}."


def gain_line(found: dict[str, Any]) -> str:
    """How much the choices save of the teacher's convolutions, in a sentence."""
    timed = [choice for choice in found["teacher"] if choice["times"]]
    # Kinds are timed with unlike numbers of images, so that their shares are compared, not their seconds.
    ratios = [choice["times"][choice["way"]] / choice["times"][DIRECT] for choice in timed if choice["way"] != DIRECT]
    if not ratios:
        return "Every convolution of the teacher is computed directly: nothing else is faster here by 5 %."
    return (
        f"{len(ratios)} of {len(found['teacher'])} kinds of convolution are computed in another way than directly, in "
        f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} % of the time. A way must save 5 % to be chosen; what "
        "counts is the least time of three calls in turns."
    )


def logits_line(found: dict[str, Any]) -> str:
    """Whether cached logits are worth reading, in a sentence."""
    read, asked = found["cached_logits"]["read"], found["cached_logits"]["asked"]
    verdict = "read" if read < asked else "not read: asking is faster"
    return f"Cached teacher logits are {verdict}: a batch is read in {_ms(read)}, asked in {_ms(asked)}."


def compiled_line(times: dict[str, float]) -> str:
    """What compiling gains, in a sentence."""
    gain = times["eager"] - times["compiled"]
    pays = f"it pays after {times['compiling'] / gain:,.0f} steps" if gain > 0 else "it never pays"
    ratio = times["eager"] / times["compiled"]
    steps = f"{_ms(times['compiled'])} instead of {_ms(times['eager'])} ({ratio:.2f} times as fast)"
    return (
        f"Compiled, a step takes {steps}; compiling takes {times['compiling']:.0f} s at the start of a run, so {pays}."
    )


def _ms(seconds: float | None) -> str:
    return "not measured" if seconds is None else f"{1000 * seconds:.2f} ms"
