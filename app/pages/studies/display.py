"""The right card of the Studies page part by part: what each depends on, and what its components show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from app.pages.studies import state
from app.pages.studies.board import StudyBoard
from kdengine.jobs import Job
from kdengine.workspace.states import State

if TYPE_CHECKING:
    from studies.trials import StudyView

FIGURES = {
    "history": "History",
    "curves": "Curves",
    "importance": "Importance",
    "distribution": "Distribution",
    "timeline": "Timeline",
    "slices": "Slices",
    "parallel": "Parallel",
    "contour": "Contour",
    "front": "Pareto",
}
COUNTS = {"state": 1, "actions": 8, "confirmed": 1, "table": 1, "pair": 2} | dict.fromkeys(FIGURES, 1)
"""Parts in their order, and of how many components each is."""

MORE_TRIALS = 10


def parts_of(
    name: str | None, kind: str, x: str | None, y: str | None, board: StudyBoard
) -> dict[str, tuple[Any, Any]]:
    """Each part of the right card: what it depends on, and what its drawing takes."""
    if not name:
        return nothing(state.no_study())
    now = board.view(name)
    job = board.job(now)
    found = board.confirmation(now)
    actions = _actions(now, job)
    searched = [each.field for each in now.plan.searched]
    pair = (x if x in searched else searched[0], y if y in searched else searched[-1])
    said = state.state(now, job)
    return {
        "state": (said, said),
        "actions": (actions, actions),
        "confirmed": (found, found),
        "table": (now, now),
        "pair": ((name, searched), (searched, pair)),
        kind: ((now.trials, now.plan, pair if kind == "contour" else None), (kind, now, pair)),
    }


def nothing(words: str) -> dict[str, tuple[Any, Any]]:
    """No study is shown, and why."""
    return {"state": (words, words), "actions": (None, None), "confirmed": (None, None)}


def drawn(part: str, found: tuple[Any, Any], board: StudyBoard) -> list[Any]:
    """Values for the components of a part."""
    _, content = found
    if part == "state":
        return [content]
    if part == "actions":
        return _updates(content) if content else [gr.update(visible=False)] * COUNTS[part]
    if part == "confirmed":
        return [state.confirmation(content) if content else ""]
    if part == "table":
        return [state.table(content)]
    if part == "pair":
        searched, pair = content
        return [gr.update(choices=searched, value=each) for each in pair]
    kind, now, pair = content
    return [board.figure(kind, now, *pair)]


def _actions(now: StudyView, job: Job | None) -> dict[str, Any]:
    at_work = job is not None and not job.state.ended
    most = now.plan.budget.trials
    done = most is not None and now.counted >= most
    return {
        "after": at_work and not now.ending,
        "stop": at_work and job is not None and job.state != State.STOPPING,
        "resume": not at_work,
        "confirm": not at_work and now.best is not None,
        "promote": now.best is not None,
        "most": (most or now.counted) + (MORE_TRIALS if done else 0),
    }


def _updates(actions: dict[str, Any]) -> list[Any]:
    resume, confirm = actions["resume"], actions["confirm"]
    return [
        gr.update(visible=actions["after"]),
        gr.update(visible=actions["stop"]),
        gr.update(visible=resume, value=actions["most"]),
        gr.update(visible=resume),
        gr.update(visible=confirm),
        gr.update(visible=confirm),
        gr.update(visible=actions["promote"]),
        gr.update(visible=True),
    ]
