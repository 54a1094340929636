"""Short messages in the same style on every page: problems, warnings, a quiet note."""

from __future__ import annotations

from app import text
from kdengine.errors import BadInput, KdError

NO_NETWORK = '<div class="kd-empty">No trained network yet: <a href="/launch">launch a run</a> first.</div>'


def problems(lines: list[str]) -> str:
    """Problems to fix, a line each; "" for nothing."""
    return f'<div class="kd-problems" role="alert">{_list(lines)}</div>' if lines else ""


def error(raised: KdError) -> str:
    """The same for what was raised, a line for each problem."""
    return problems([str(problem) for problem in raised.problems] if isinstance(raised, BadInput) else [str(raised)])


def refusal(raised: KdError) -> str:
    """What was raised as one sentence, where only another choice helps."""
    return f'<div class="kd-problems" role="alert">{text.escape(raised)}</div>'


def warnings(lines: list[str]) -> str:
    """What speaks against an experiment that can be launched all the same."""
    return f'<div class="kd-warnings" role="status">Note:{_list(lines)}</div>' if lines else ""


def without_network(run_ids: list[str]) -> str:
    """Runs that an address names but that have no network to show; "" for none."""
    if not run_ids:
        return ""
    return problems([f"There is no run {run_id!r} with a trained network." for run_id in run_ids])


def note(line: str) -> str:
    """One quiet line."""
    return f'<p class="kd-facts">{text.escape(line)}</p>'


def notes(head: str, lines: list[str]) -> str:
    """Quiet lines under a head that may hold HTML."""
    return f'<div class="kd-facts">{head}{_list(lines)}</div>'


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f'<li style="white-space: pre-wrap">{text.escape(line)}</li>' for line in lines) + "</ul>"
