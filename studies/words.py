"""How the numbers of a study are written, in a shell and on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.confirm import Confirmation
    from studies.trials import StudyView, TrialRow

SHARES = ("accuracy", "ece")
AXES = {
    "accuracy": "validation accuracy (%)",
    "loss": "validation loss",
    "ece": "validation ECE (%)",
    "latency_ms": "latency (ms)",
    "parameters": "parameters",
    "macs": "MACs",
}


def axis(metric: str) -> str:
    """Title of an axis, with its unit."""
    return AXES.get(metric, metric)


def scaled(metric: str, value: float) -> float:
    """The value as an axis shows it: shares in percent."""
    return 100 * value if metric in SHARES else value


def short_name(path: str) -> str:
    """The last part of a setting's path; the whole where that says too little."""
    return path if path == "student.name" else path.rpartition(".")[2]


def metric_value(metric: str, value: float) -> str:
    """0.9812 of accuracy -> "98.1 %"; other metrics with four digits."""
    return f"{100 * value:.1f} %" if metric in SHARES else f"{value:.4g}"


def setting_value(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def trial_value(now: StudyView, row: TrialRow | None) -> str:
    """All metrics of a trial, and which it is; "" where there are none yet."""
    if row is None or not row.values:
        return ""
    values = [metric_value(name, value) for name, value in zip(now.plan.metrics, row.values, strict=True)]
    return f"{', '.join(values)} (trial {row.number})"


def remark(row: TrialRow, now: StudyView) -> str:
    """Where a trial came from, and why it ended as it did."""
    words = [row.origin] if row.origin else []
    if len(now.plan.metrics) > 1 and row.number in now.front:
        words.insert(0, "on the Pareto front")
    if now.best is not None and row.number == now.best.number:
        words.insert(0, "best")
    if row.tries > 1:
        words.append(f"{row.tries} tries")
    return ", ".join([*words, row.why] if row.why and row.state != "complete" else words)


def spread_values(found: Confirmation, part: str, arm: str) -> str:
    """Mean and standard deviation of an arm on a part ("validation" or "test"); "" before there is any."""
    known = getattr(found, part)
    return f"{100 * known[arm].mean:.1f} ± {100 * known[arm].deviation:.1f} %" if arm in known else ""


def verdict(found: Confirmation) -> str:
    """The gain on the test images in words."""
    gain = found.gain
    if gain is None:
        return "no seed has finished in both yet"
    if gain.n == 1:
        return f"{100 * gain.mean:+.1f} points with one seed, too few to decide"
    words = {"helps": "tuning helps", "hurts": "tuning hurts", "not decided": "not decided"}[gain.verdict]
    interval = f"95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    return f"{words}: {100 * gain.mean:+.1f} points on the test images ({interval}, {gain.n} seeds)"
