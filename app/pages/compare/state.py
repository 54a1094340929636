"""The right side of the Compare page: how a comparison stands, its table, its files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import text
from kdengine.comparison.progress import MISSING, Progress, unmeasured
from kdengine.comparison.report import Report
from kdengine.comparison.searches import FOUND, WAITING, ArmSearch
from kdengine.comparison.tables import FORMATS, MEANINGS, SUFFIXES, columns, core, notes, report_gains, rows
from kdengine.figures import comparison

FEW_ARMS = 12


def empty(any_comparison: bool) -> str:
    """Stands where a comparison will be."""
    if any_comparison:
        return '<div class="kd-empty">Choose a comparison above.</div>'
    return '<div class="kd-empty">No comparison yet.<br>Pick methods on the left, or use <code>kd compare</code>.</div>'


def shown(found: Report, now: Progress, tuning: Sequence[ArmSearch] = ()) -> list[Any]:
    """Words, resume, stop, a file in each of `FORMATS`, the figure of the gains, the table, the switch of its columns,
    and the panel that extends it."""
    ended_early = now.count("stopped", "failed", "lost", MISSING) + len(now.blocked)
    ended_early += sum(not each.under_way and each.state != FOUND for each in tuning)
    some, at_work = found.finished > 0, now.under_way or any(each.under_way for each in tuning)
    gains = comparison.gains(report_gains(found), found.against)
    return [
        _state(found, now) + _searches(tuning) + (_place_of(gains) if some else ""),
        gr.update(visible=ended_early > 0 and not at_work),
        gr.update(visible=at_work),
        *[gr.update(visible=some, value=path) for path in _files(found)],
        gr.update(value=gains, visible=some),
        _table(found) if some else "",
        gr.update(visible=some),
        gr.update(visible=True),
    ]


def _place_of(figure: Any) -> str:
    """Keeps it from the first: what draws the figure is loaded later, and the table below it must not jump for it."""
    return (
        f"<style>#compare-gains {{ height: {figure.layout.height}px; overflow: hidden }} "
        ":root:not(:has(#compare-gains)) :is(#compare-table, #compare-all-columns) { display: none }</style>"
    )


def _files(found: Report) -> list[str]:
    """The table in every format, written where Gradio takes it from: the workspace itself is never served."""
    folder = Path(tempfile.mkdtemp(prefix="kd-compare-"))
    paths = []
    for kind, write in FORMATS.items():
        path = folder / f"{found.plan.name}{SUFFIXES[kind]}"
        path.write_text(write(found))
        paths.append(str(path))
    return paths


def _state(found: Report, now: Progress) -> str:
    running = now.count("running", "starting", "stopping")
    words = [f"<b>{found.finished} of {found.total}</b> runs finished"]
    words += [f"{running} running"] if running else []
    words += [f"{found.failed} failed"] if found.failed else []
    blocked = dict.fromkeys(cell.message for cell in now.blocked)
    words += [f"{len(now.blocked)} waiting: {text.escape('; '.join(blocked))}"] if blocked else []
    left = len(unmeasured(now))
    if not now.under_way and found.finished and left:
        words.append(f"measuring fidelity and latency, {left} to go")
    share = found.finished / max(1, found.total)
    bar = f'<div class="kd-bar"><i style="width:{100 * share:.1f}%"></i></div>' if now.under_way else ""
    # With many arms the dots matter only while they change.
    folded = "" if now.under_way or len(now.plan.arms) <= FEW_ARMS else "<summary>every run</summary>"
    dots = f"<details>{folded}{_matrix(now)}</details>" if folded else _matrix(now)
    return f'<div class="kd-state kd-num">{_said(found)}{" · ".join(words)}{bar}{dots}</div>'


def _searches(tuning: Sequence[ArmSearch]) -> str:
    """How the search of each arm stands, each leading to its study; nothing once all have found something."""
    if all(each.state == FOUND for each in tuning):
        return ""
    lines = []
    for each in tuning:
        said = f"{text.escape(each.state)}, {each.progress}" + (
            f": {text.escape(each.message)}" if each.message else ""
        )
        name = f'<a href="/studies?name={text.escape(each.study)}">{text.escape(each.arm)}</a>'
        begun = f'<span translate="no">{text.escape(each.arm)}</span>' if each.state == WAITING else name
        lines.append(f'<span class="kd-arm">{begun}</span><span>{said}</span>')
    return f'<div class="kd-state"><p class="kd-facts">Searches</p><div class="kd-matrix">{"".join(lines)}</div></div>'


def _said(found: Report) -> str:
    """The verdict in one sentence, once there is any."""
    gains = [(row.name, row.gain.verdict) for row in found.rows if row.gain is not None]
    if not gains:
        return ""
    alike = {kind: [name for name, verdict in gains if verdict.startswith(kind)] for kind in ("helps", "hurts")}
    bold = {kind: ", ".join(f"<b>{text.escape(name)}</b>" for name in names) for kind, names in alike.items()}
    parts = [f"{names} {_VERBS[kind]}" for kind, names in bold.items() if names]
    open_ = len(gains) - sum(map(len, alike.values()))
    parts += [f"{open_} of {len(gains)} arms are not decided"] if open_ else []
    return f'<p class="kd-finding">Against {text.escape(found.against)}: {"; ".join(parts)}.</p>'


_VERBS = {"helps": "found to help", "hurts": "found to hurt"}


def _matrix(now: Progress) -> str:
    """A line of dots for each arm, one a seed, each leading to its run."""
    lines = []
    for arm in now.plan.arms:
        dots = "".join(_dot(cell) for cell in now.of(arm.name))
        lines.append(f'<span class="kd-arm">{text.escape(arm.name)}</span><span>{dots}</span>')
    return f'<div class="kd-matrix">{"".join(lines)}</div>'


def _dot(cell: Any) -> str:
    title = f"seed {cell.cell.seed}: {cell.state}" + (f", {cell.message}" if cell.message else "")
    dot = f'<span class="dot {text.escape(cell.state)}" title="{text.escape(title)}"></span>'
    return f'<a href="/runs?run={text.escape(cell.run.id)}">{dot}</a>' if cell.run else dot


def _table(found: Report) -> str:
    titles = columns(found)
    head = "".join(_head(number, title, found) for number, title in enumerate(titles))
    body = "".join(f"<tr>{_cells(line, core(found))}</tr>" for line in rows(found))
    said = "".join(f"<li>{text.escape(note)}</li>" for note in notes(found))
    return (
        f'<div class="kd-tablebox"><table class="kd-table kd-gains"><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><ul class="kd-facts kd-notes">{said}</ul>'
    )


def _head(number: int, title: str, found: Report) -> str:
    meaning = MEANINGS.get(title, f"Difference to {found.against}, paired by seed, with its 95 % interval.")
    return f'<th class="{_classes(number, core(found))}" title="{text.escape(meaning)}">{text.escape(title)}</th>'


def _cells(line: tuple[str, ...], first: int) -> str:
    return "".join(f'<td class="{_classes(number, first)}">{_verdict(cell)}</td>' for number, cell in enumerate(line))


def _classes(number: int, first: int) -> str:
    """Of a column: numbers stand at the right, and what is not among the first ones shows on demand."""
    return " ".join([*(["r"] if number else []), *(["more"] if number >= first else [])])


def _verdict(cell: str) -> str:
    kind = {"helps": "kd-right", "hurts": "kd-wrong"}.get(cell.removesuffix(" *"))
    return f'<b class="{kind}">{text.escape(cell)}</b>' if kind else text.escape(cell)
