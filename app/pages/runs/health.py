"""What is odd about a run, and what helps: looked for in its status and its events."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from app import text
from app.board import Detail, Record
from kdengine import health
from kdengine.health import LOOKS, Finding
from kdengine.workspace.states import State

FELL_POINTS = 5.0
"""Percentage points below its best at which a validation accuracy has fallen."""
IDLE_GPU = 0.35
SLOWER = 0.6
"""Share of its usual throughput below which a run has become slow."""


def findings(detail: Detail, record: Record) -> list[Finding]:
    """All that is odd about a run, the gravest first; nothing for a study's controller."""
    if detail.job.is_controller:
        return []
    looks = (_diverged, _stalled, _fell, _learnt, _idle_gpu, _slower, _restarted, _unreadable)
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


def _learnt(detail: Detail, record: Record) -> Iterator[Finding]:
    """What makes its numbers hard to believe."""
    yield from health.findings(health.Record(detail.status, record.steps, detail.teacher_validation))


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
