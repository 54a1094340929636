"""What is odd about a run, and what helps: looked for in its status and its events."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from app import text
from app.board import Detail, Record
from kdengine.workspace.states import State

FELL_POINTS = 5.0
"""Percentage points below its best at which a validation accuracy has fallen."""
SMALL_TERM = 0.01
"""Share of the loss below which a term hardly counts."""
IDLE_GPU = 0.35
LOOKS = 6
"""Fewest looks at the machine, epochs or steps that say anything."""
SLOWER = 0.6
"""Share of its usual throughput below which a run has become slow."""


class Finding(NamedTuple):
    """What is odd, and what may be done about it."""

    what: str
    remedy: str


def findings(detail: Detail, record: Record) -> list[Finding]:
    """All that is odd about a run, the gravest first; nothing for a study's controller."""
    if detail.job.is_controller:
        return []
    looks = (_diverged, _stalled, _fell, _teacher_behind, _small_terms, _idle_gpu, _slower, _restarted, _unreadable)
    return [finding for look in looks for finding in look(detail, record)]


def line(detail: Detail | None, record: Record) -> str:
    """The findings as HTML; "" where nothing is odd."""
    found = findings(detail, record) if detail is not None else []
    items = "".join(f"<li><b>{text.escape(each.what)}</b> {text.escape(each.remedy)}</li>" for each in found)
    return f'<div role="status"><ul class="kd-health">{items}</ul></div>' if items else ""


def _diverged(detail: Detail, record: Record) -> Iterator[Finding]:
    if detail.job.state in (State.FAILED, State.LOST):
        return  # the failure says it, with its remedies
    losses = [event.get("loss") for event in record.steps[-LOOKS:]]
    if any(loss is None or not math.isfinite(loss) for loss in losses) and losses:
        yield Finding("The loss is not a number.", "Lower the learning rate, or clip gradients (recipe.clip_norm).")


def _stalled(detail: Detail, record: Record) -> Iterator[Finding]:
    if detail.stalled:
        yield Finding("No step for a long time.", "Look at the log; stop it, and resume it from its checkpoint.")


def _fell(detail: Detail, record: Record) -> Iterator[Finding]:
    known = [(event["validation"]["accuracy"], event["epoch"]) for event in record.epochs if event.get("validation")]
    if len(known) < LOOKS:
        return
    (best, epoch), (now, last) = max(known), known[-1]
    if 100 * (best - now) >= FELL_POINTS and last - epoch >= 3:
        yield Finding(
            f"Validation accuracy fell from {text.percent(best)} in epoch {epoch} to {text.percent(now)}.",
            "It overfits, or the learning rate is too high: fewer epochs, stronger augmentation or a lower rate. "
            "The best epoch's weights are kept.",
        )


def _teacher_behind(detail: Detail, record: Record) -> Iterator[Finding]:
    best = (detail.status.get("best") or {}).get("accuracy")
    if best is not None and detail.teacher_validation is not None and best > detail.teacher_validation + 0.002:
        yield Finding(
            f"The student ({text.percent(best)}) is better than the teacher "
            f"({text.percent(detail.teacher_validation)}).",
            "A stronger teacher may help more: train it longer, or choose a larger network.",
        )


def _small_terms(detail: Detail, record: Record) -> Iterator[Finding]:
    steps = record.steps[-50:]
    if len(steps) < LOOKS:
        return
    for name in steps[-1].get("terms") or {}:
        shares = [_share(event, name) for event in steps]
        known = [share for share in shares if share is not None]
        if known and max(known) < SMALL_TERM:
            yield Finding(
                f"The loss term {name.replace('_', ' ')} is less than 1 % of the loss.",
                "It hardly counts: raise its weight, or see by the raw loss whether it is learnt already.",
            )


def _share(event: dict[str, Any], name: str) -> float | None:
    terms = {key: abs((each or {}).get("weighted") or 0.0) for key, each in (event.get("terms") or {}).items()}
    whole = sum(terms.values())
    return terms.get(name, 0.0) / whole if len(terms) > 1 and whole > 0 and math.isfinite(whole) else None


def _idle_gpu(detail: Detail, record: Record) -> Iterator[Finding]:
    uses = [event["gpu"]["use"] for event in record.system[-30:] if "use" in (event.get("gpu") or {})]
    if len(uses) >= LOOKS and statistics.median(uses) < IDLE_GPU:
        yield Finding(
            f"The GPU is in use {text.percent(statistics.median(uses))} of the time.",
            "A larger batch, more data workers or several runs per GPU (Queue, below the table) use more of it.",
        )


def _slower(detail: Detail, record: Record) -> Iterator[Finding]:
    speeds = [event["images_per_s"] for event in record.steps if event.get("images_per_s")]
    if detail.job.state != State.RUNNING or len(speeds) < 4 * LOOKS:
        return
    usual, now = statistics.median(speeds), statistics.median(speeds[-LOOKS:])
    if now < SLOWER * usual:
        yield Finding(
            f"It trains {now:.0f} images/s, usually {usual:.0f}.",
            "Something else takes the machine's time: see the curves of the machine below.",
        )


def _restarted(detail: Detail, record: Record) -> Iterator[Finding]:
    if detail.job.retries:
        times = "once" if detail.job.retries == 1 else f"{detail.job.retries} times"
        yield Finding(f"Its process died and was started again {times}.", "The log says why, where it could.")


def _unreadable(detail: Detail, record: Record) -> Iterator[Finding]:
    if record.unreadable:
        yield Finding(
            f"{record.unreadable} lines of events.jsonl cannot be read and are left out.", "A crash may cut one short."
        )
