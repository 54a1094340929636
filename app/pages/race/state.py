"""How a race stands: its verdict, where it is, and every method's way through it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import text
from kdengine.workspace.states import State
from studies.race import words
from studies.race.standing import Standing

AT_WORK = (State.QUEUED, State.STARTING, State.RUNNING)
GOOD = "winner"
OUTCOME = "Outcome"


def empty(any_race: bool) -> str:
    """Stands where a race will be."""
    if any_race:
        return '<div class="kd-empty">Choose a race above.</div>'
    return '<div class="kd-empty">No race yet.<br>Give it hours below, or use <code>kd race</code>.</div>'


def shown(now: Standing) -> list[Any]:
    """The state with its table, whether it can be resumed or stopped, the panel of the export, and whose it is."""
    winner = now.winner
    return [
        f'<div class="kd-state kd-num">{_said(now)}{_where(now)}{_links(now)}</div>{_table(now)}',
        gr.update(visible=now.state.resumable),
        gr.update(visible=now.state in AT_WORK),
        gr.update(visible=winner is not None),
        winner.id if winner is not None else "",
    ]


def _said(now: Standing) -> str:
    said = words.sentence(now)
    return f'<p class="kd-finding">{text.escape(said)}</p>' if said else ""


def _where(now: Standing) -> str:
    line = f'<span class="dot {now.state}"></span><b class="kd-now">{now.state}</b> · {text.escape(words.phase(now))}'
    if now.state in (State.FAILED, State.LOST):
        line += f'<div class="kd-failure" role="alert">{text.escape(now.message)}</div>'
    return line


def _links(now: Standing) -> str:
    """To the runs of the final, the searches, and the student to take away."""
    name = text.escape(now.race.name)
    links = []
    if now.winner is not None:
        links.append(f'<a href="/runs?run={text.escape(now.winner.id)}">the student</a>')
    if now.final is not None:
        links.append(f'<a href="/compare?name={name}">the final on Compare</a>')
    if now.tuning is not None:
        links += [
            f'<a href="/studies?name={text.escape(each.study)}">search of {text.escape(each.arm)}</a>'
            for each in now.searches
        ]
    return f'<div class="kd-facts kd-lineage">{" · ".join(links)}</div>' if links else ""


def _table(now: Standing) -> str:
    heats = [f"Heat {number}" for number in range(1, len(now.race.heats) + 1)]
    titles = ("Method", *heats, "Tuned", "Test", "Minus alone", OUTCOME)
    head = "".join(f"<th{'' if not number else _right(title)}>{title}</th>" for number, title in enumerate(titles))
    body = "".join(_line(row) for row in words.table(now))
    return (
        f'<div class="kd-tablebox"><table class="kd-table" id="race-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        '<p class="kd-facts">Heats and tuning: best validation accuracy of one seed. Test: mean over the fresh seeds; '
        "minus alone: paired by seed, with the 95 % interval, in points.</p>"
    )


def _right(title: str) -> str:
    return ' class="r"' if title != OUTCOME else ""


def _line(row: words.RaceRow) -> str:
    numbers = "".join(
        f'<td class="r">{text.escape(cell)}</td>' for cell in (*row.heats, row.tuned, row.final, row.gain)
    )
    fate = f'<b class="kd-right">{row.fate}</b>' if row.fate == GOOD else text.escape(row.fate)
    return f'<tr><td translate="no">{text.escape(row.method)}</td>{numbers}<td>{fate}</td></tr>'
