"""What happens on the Studies page: which event calls which handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.events import QUIET, WORKING, of_address
from app.pages.studies.display import COUNTS
from app.pages.studies.form_handlers import FormHandlers
from app.pages.studies.parts import Parts
from app.pages.studies.study_handlers import StudyHandlers

POLL_S = 2.0
TO_LAUNCH = "(name) => { if (name) window.location.href = '/launch?study=' + encodeURIComponent(name); }"


def wire(parts: Parts, new: FormHandlers, study: StudyHandlers, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    outputs = [parts.seen, *(component for name in COUNTS for component in parts.groups[name])]
    refresh: dict[str, Any] = {
        "fn": study.refresh, "inputs": [parts.chosen, parts.tab, parts.x, parts.y, parts.seen], "outputs": outputs,
        **QUIET,
    }  # fmt: skip
    _wire_study(parts, study, page, refresh)
    _wire_actions(parts, study, refresh)
    _wire_form(parts, new, page, refresh)


def _wire_study(parts: Parts, study: StudyHandlers, page: gr.Blocks, refresh: dict[str, Any]) -> None:
    arrived = page.load(of_address(study.arrive), None, [parts.chosen, parts.refused, parts.new], **QUIET)
    arrived.then(lambda: {}, None, parts.seen, **QUIET).then(**refresh)
    parts.chosen.input(lambda: "", None, parts.refused, **QUIET).then(**refresh)
    gr.Timer(POLL_S).tick(**refresh, concurrency_limit=None, trigger_mode="once")
    for kind, tab in parts.tabs.items():
        tab.select(_choosing(kind), None, parts.tab, **QUIET).then(**refresh)
    for choice in (parts.x, parts.y):
        choice.input(**refresh)


def _wire_actions(parts: Parts, study: StudyHandlers, refresh: dict[str, Any]) -> None:
    box: dict[str, Any] = {"outputs": parts.refused, "trigger_mode": "once", **QUIET}
    parts.after.click(study.stop_after_current, parts.chosen, **box).then(**refresh)
    parts.now.click(study.stop_now, parts.chosen, **box).then(**refresh)
    parts.resume.click(study.resume, [parts.chosen, parts.most], **box).then(**refresh)
    parts.confirm.click(study.confirm, [parts.chosen, parts.seeds], parts.refused, trigger_mode="once", **WORKING).then(
        **refresh
    )
    parts.add.click(study.add_by_hand, [parts.chosen, parts.hand], **box).then(**refresh)
    parts.hand.submit(study.add_by_hand, [parts.chosen, parts.hand], **box).then(**refresh)
    parts.table.submit(_annotating(study), parts.chosen, **box).then(**refresh)
    parts.promote.click(None, parts.chosen, None, js=TO_LAUNCH, **QUIET)


def _wire_form(parts: Parts, new: FormHandlers, page: gr.Blocks, refresh: dict[str, Any]) -> None:
    form, controls = parts.form, list(parts.form.values())
    rows = [form["space"], form["teacher"]]
    drawn = [*rows, parts.problems]
    page.load(of_address(new.arrive), None, [*controls, parts.problems], **QUIET).then(
        new.first_rows, controls, rows, **QUIET
    )
    form["ready"].input(new.fill, form["ready"], controls, **QUIET)
    form["method"].input(new.offer_rows, controls, drawn, **QUIET)
    form["metrics"].input(new.choose_objectives, form["metrics"], form["pruner"], **QUIET)
    for name in ("student", "teacher", "data"):
        form[name].input(new.keep_rows, controls, drawn, **QUIET)
    form["data"].input(new.offer_teachers, form["data"], form["teacher"], **QUIET)
    gr.on([control.change for control in controls], new.show_command, controls, parts.command,
          trigger_mode="always_last", **QUIET)  # fmt: skip
    parts.begin.click(
        new.start, controls, [parts.problems, parts.chosen, parts.new], trigger_mode="once", **WORKING
    ).then(**refresh)
    parts.estimate.click(new.measure, controls, [parts.cost, parts.problems], trigger_mode="once", **WORKING)


def _annotating(study: StudyHandlers) -> Callable[[str, gr.EventData], str]:
    def annotate(name: str, event: gr.EventData) -> str:
        return study.annotate(name, event._data.get("trial"), event._data.get("note"))

    return annotate


def _choosing(kind: str) -> Callable[[], str]:
    def choose() -> str:
        return kind

    return choose
