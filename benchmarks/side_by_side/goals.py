"""What the speed suites are meant to reach and whether they did, judged by the ratios that they have measured.

The CPU's goals stem from the first measurements of this engine and are judged on every kind of processor by itself; the
GPU's from counted operations over the measured ceilings of an H200, with two marks, *pass* and *stretch*. Every goal is
a row of the table, met or not.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

PIL, GATHER, GATHER_COMPILED = "PIL, one by one", "gather", "gather, compiled"
PLAIN, STEP_ONLY = "mdistiller-style, 2 workers", "the same, step only"
TUNED = "the same tuned, a worker a core"
TORCHDISTILL, TIMM, TIMM_COMPILED = "torchdistill", "timm's task, our images", "timm's task compiled, our images"
ENGINE, AGAIN, COMPILED = "engine", "engine once more (A/A)", "engine, compiled"
BF16_COMPILED, GRAPH = "engine, bf16, compiled", "engine, bf16, compiled, graph"
CONTIGUOUS, NOT_FOLDED = "engine, contiguous layout", "engine, teacher not folded"
DIRECT = "engine, teacher multiplies directly"
SWITCHED_OFF = (CONTIGUOUS, NOT_FOLDED, DIRECT)
"""Arms that leave out one thing that is said to make the engine fast: none may be faster than it."""
BF16, BF16_TEACHER = "engine, bf16", "engine, teacher in bf16"
BF16_TEACHER_COMPILED = "engine, teacher in bf16, compiled"
REDUCED = (BF16, BF16_COMPILED, BF16_TEACHER, BF16_TEACHER_COMPILED)
CACHED, STORING = "engine, cached teacher logits", "engine, storing teacher logits"
LIVE = (ENGINE, COMPILED, "engine, graph", BF16, BF16_COMPILED, GRAPH)
SLACK = 1.03
"""How many times as fast a switched-off arm may read: what rounds differ by on an idle machine."""

Part = dict[str, Any]


class Goal(NamedTuple):
    """One row: what is measured, what is wanted of it, what was found (None = not measured), and the verdict."""

    what: str
    wanted: str
    found: str
    verdict: str


HEAD = ("goal", "wanted", "found", "")


def goals(suite: str, parts: list[Part]) -> list[Goal]:
    """All goals of a suite, "cpu" or "gpu", from what its parts have measured."""
    named = {part["pair"]: part for part in parts}
    return list(_on_a_cpu(named) if suite == "cpu" else _on_a_gpu(named))


def _on_a_cpu(parts: dict[str, Part]) -> Iterator[Goal]:
    data = _part(parts, "the data path")
    yield _at_least("gather, compiled, over PIL", _ratio(data, GATHER_COMPILED, PIL), 15)
    yield _at_least("gather over PIL", _ratio(data, GATHER, PIL), 5)
    for name, part in parts.items():
        if " -> " not in name:
            continue
        pair = name.split(",")[0]
        yield _at_least(f"{pair}: engine over mdistiller's way", _ratio(part, ENGINE, PLAIN), 1.2)
        yield _at_least(f"{pair}: engine, compiled, over it", _ratio(part, COMPILED, PLAIN), 1.35)
        yield _at_least(f"{pair}: engine over torchdistill", _ratio(part, ENGINE, TORCHDISTILL), 1.2)
        others = [row["arm"] for row in part["arms"] if not row["arm"].startswith("engine")]
        yield _at_least(f"{pair}: engine, compiled, over the best of all others", _least(part, COMPILED, others), 1)
        yield _no_switch_helps(f"{pair}: the fastest switched-off arm over the engine", part)
        yield _at_least(f"{pair}: bfloat16 over mdistiller's way, where the processor has it", _reduced(part), 2)
        least = 2.5 if "resnet8x4" in pair else 8
        yield _at_least(f"{pair}: cached teacher logits over mdistiller's way", _ratio(part, CACHED, PLAIN), least)
        yield _within(f"{pair}: A/A", _ratio(part, AGAIN, ENGINE), 0.95, 1.05)


def _on_a_gpu(parts: dict[str, Part]) -> Iterator[Goal]:
    wide, mobile, plain = "resnet32x4 -> resnet8x4", "resnet34 -> mobilenetv3_small", "resnet34 -> resnet18"
    for pair in (wide, mobile, plain):
        small, large = (_part(parts, f"{pair}, 32 px, batches of {size}") for size in (64, 512))
        best, best_large = _best(small), _best(large)
        yield _at_least(f"{pair}, 64: over mdistiller's way", _ratio(small, best, PLAIN, "wall"), 8, 15)
        yield _at_least(f"{pair}, 64: over it tuned", _ratio(small, best, TUNED, "wall"), 3, 5)
        yield _at_least(f"{pair}, 64: over its step alone", _ratio(small, best, STEP_ONLY, "wall"), 2.5, 4)
        yield _at_least(f"{pair}, 512: over its step alone", _ratio(large, best_large, STEP_ONLY, "wall"), 1.8, 2.5)
        yield _at_least(f"{pair}, 64: over torchdistill", _ratio(small, best, TORCHDISTILL, "wall"), 3, 5)
        for size, part, arm in ((64, small, best), (512, large, best_large)):
            yield _at_least(f"{pair}, {size}: over timm compiled", _ratio(part, arm, TIMM_COMPILED, "wall"), 1.1, 1.5)
        marks = (25, 40) if pair == mobile else (35, 55)
        yield _at_least(f"{pair}, 512: share of the roofline", _share(large, "roofline_share"), *marks, unit=" %")
        if pair != plain:
            marks = (1.6, 2.0) if pair == mobile else (1.5, 1.85)
            yield _at_least(f"{pair}, 512: cached teacher logits over live", _cached_over_live(large), *marks)
        yield _at_least(f"{pair}, 64: graph over none", _ratio(small, GRAPH, BF16_COMPILED, "wall"), 1.8, 3)
    alone = _part(parts, "resnet34 alone")
    yield _at_least("resnet34 alone, 512: share of the roofline", _share(alone, "roofline_share"), 35, 55, unit=" %")
    yield _at_least("resnet34 alone, 512: share of peak", _share(alone, "mfu"), 22, 35, unit=" %")
    large = _part(parts, f"{wide}, 32 px, batches of 512")
    yield _at_least(f"{wide}, 512: share of peak", _share(large, "mfu"), 22, 35, unit=" %")
    epoch = _part(parts, "an epoch").get("epoch", {})
    yield _at_most("images, share of a step", epoch.get("gather_percent"), 3, 1, unit=" %")
    yield _at_most("waits for the GPU in a step", epoch.get("waits"), 0, 0)
    yield _at_most("validation and checkpoint, share of an epoch", epoch.get("end_percent"), 10, 5, unit=" %")


def _part(parts: dict[str, Part], beginning: str) -> Part:
    return next((part for name, part in parts.items() if name.startswith(beginning)), {"arms": []})


def _ratio(part: Part, arm: str | None, base: str, clock: str = "cpu") -> float | None:
    """How many times as fast an arm is, median over the rounds; both stand beside the same first arm."""
    quick, slow = _row(part, arm), _row(part, base)
    if quick is None or slow is None:
        return None
    each = zip(quick[f"{clock}_ratio"], slow[f"{clock}_ratio"], strict=True)
    return statistics.median(one / other for one, other in each)


def _least(part: Part, arm: str, others: list[str]) -> float | None:
    """Over the quickest of the others."""
    ratios = [ratio for other in others if (ratio := _ratio(part, arm, other)) is not None]
    return min(ratios, default=None)


def _reduced(part: Part) -> float | None:
    """The fastest arm that computes in bfloat16; None where there is none, as on processors without it."""
    return max((ratio for arm in REDUCED if (ratio := _ratio(part, arm, PLAIN)) is not None), default=None)


def _no_switch_helps(what: str, part: Part) -> Goal:
    wanted = f"at most {SLACK:g}"
    ratios = {arm: ratio for arm in SWITCHED_OFF if (ratio := _ratio(part, arm, ENGINE)) is not None}
    if not ratios:
        return _unknown(what, wanted)
    arm = max(ratios, key=lambda name: ratios[name])
    found = f"{_told(ratios[arm], '')} ({arm.removeprefix('engine, ')})"
    return Goal(what, wanted, found, "short" if ratios[arm] > SLACK else "pass")


def _row(part: Part, arm: str | None) -> dict[str, Any] | None:
    return next((row for row in part["arms"] if row["arm"] == arm), None)


def _best(part: Part) -> str | None:
    """The fastest of the engine's arms whose teacher is asked."""
    rows = [row for row in part["arms"] if row["arm"] in LIVE]
    return max(rows, key=lambda row: statistics.median(row["wall_ratio"]))["arm"] if rows else None


def _share(part: Part, key: str) -> float | None:
    shares = [row[key] for row in part["arms"] if row["arm"] in LIVE and row.get(key) is not None]
    return 100 * max(shares) if shares else None


def _cached_over_live(part: Part) -> float | None:
    return part["replay"]["live_over_replayed"] if "replay" in part else None


def _at_least(what: str, found: float | None, least: float, more: float | None = None, unit: str = "") -> Goal:
    wanted = f"at least {least:g}{unit}" + (f", better {more:g}{unit}" if more is not None else "")
    if found is None:
        return _unknown(what, wanted)
    verdict = "short" if found < least else "stretch" if more is not None and found >= more else "pass"
    return Goal(what, wanted, _told(found, unit), verdict)


def _at_most(what: str, found: float | None, most: float, less: float, unit: str = "") -> Goal:
    wanted = f"at most {most:g}{unit}" + (f", better {less:g}{unit}" if less != most else "")
    if found is None:
        return _unknown(what, wanted)
    return Goal(what, wanted, _told(found, unit), "short" if found > most else "stretch" if found <= less else "pass")


def _within(what: str, found: float | None, low: float, high: float) -> Goal:
    wanted = f"{low:g} to {high:g}"
    if found is None:
        return _unknown(what, wanted)
    return Goal(what, wanted, _told(found, ""), "pass" if low <= found <= high else "short")


def _unknown(what: str, wanted: str) -> Goal:
    return Goal(what, wanted, "not measured", "")


def _told(found: float, unit: str) -> str:
    return f"{found:.1f}{unit}" if unit else f"{found:.2f}"
