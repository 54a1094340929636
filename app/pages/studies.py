"""Studies: which temperatures and weights are best, and is the gain real?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import boxes, catalog
from app.events import QUIET, quiet
from app.pages import studies_form as asking
from app.pages import studies_state as shown
from app.study_board import StudyBoard
from app.worker import Workers
from kdengine.errors import KdError
from kdengine.jobs import Job, ensure_supervisor
from kdengine.spec import ExperimentSpec
from kdengine.states import State
from kdengine.workspace import Workspace
from studies import ready_made

if TYPE_CHECKING:
    from studies.trials import StudyView

POLL_S = 2.0
FIGURES = {
    "history": "History",
    "curves": "Curves",
    "importance": "Importance",
    "slices": "Slices",
    "parallel": "Parallel",
    "contour": "Pairs",
    "front": "Front",
}
MORE_TRIALS = 10
TO_LAUNCH = "(name) => { if (name) window.location.href = '/?study=' + encodeURIComponent(name); }"


@dataclass(eq=False)
class _Side:
    """The components of the right card."""

    chosen: Any = None
    state: Any = None
    refused: Any = None
    after: Any = None
    now: Any = None
    most: Any = None
    resume: Any = None
    seeds: Any = None
    confirm: Any = None
    promote: Any = None
    hand: Any = None
    add: Any = None
    details: Any = None
    confirmed: Any = None
    table: Any = None
    x: Any = None
    y: Any = None
    tabs: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, list[Any]]:
        """What is told anew together, by name."""
        actions = [self.after, self.now, self.most, self.resume, self.seeds, self.confirm, self.promote, self.details]
        return {
            "state": [self.state],
            "actions": actions,
            "confirmed": [self.confirmed],
            "table": [self.table],
            "pair": [self.x, self.y],
            **{kind: [plot] for kind, plot in self.plots.items()},
        }


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Studies</h1><p class="kd-lead">Which temperatures and weights are best, and is the gain real? '
        "Optuna searches; fresh seeds confirm.</p>"
    )
    board = StudyBoard(workspace)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=6, min_width=380):
            form = asking.draw(workspace)
            with gr.Row():
                begin = gr.Button("Begin", variant="primary", elem_id="studies-begin", scale=3)
                weigh = gr.Button("How long?", elem_id="studies-estimate", scale=1, min_width=100)
            cost = gr.HTML("", elem_id="studies-cost")
            problems = gr.HTML("", elem_id="studies-problems")
            command = gr.Code(
                language="shell", show_label=False, interactive=False, wrap_lines=True, show_line_numbers=False,
                elem_id="studies-command",
            )  # fmt: skip
        with gr.Column(elem_classes="card", scale=9, min_width=420):
            side = _draw_side()
    seen = gr.State({})
    tab = gr.State("history")
    look = _wire_side(side, board, workers, page, seen, tab)
    _wire_form(form, begin, weigh, cost, problems, command, side, board, workers, page, look)


def _draw_side() -> _Side:
    side = _Side()
    side.chosen = gr.Dropdown([], label="Study", elem_id="studies-chosen", allow_custom_value=False)
    side.state = gr.HTML('<div class="kd-empty">Reading…</div>', elem_id="studies-state")
    with gr.Row(elem_classes="kd-actions"):
        hidden: dict[str, Any] = {"visible": False, "size": "sm"}
        side.after = gr.Button("Stop after current", elem_id="studies-after", min_width=130, **hidden)
        side.now = gr.Button("Stop now", elem_id="studies-stop", min_width=90, **hidden)
        side.most = gr.Number(label="Trials in all", precision=0, visible=False, elem_id="studies-most", min_width=90)
        side.resume = gr.Button("Resume", elem_id="studies-resume", min_width=90, **hidden)
        side.seeds = gr.Number(
            5, label="Fresh seeds", precision=0, visible=False, elem_id="studies-fresh", min_width=90
        )
        side.confirm = gr.Button(
            "Confirm on fresh seeds", elem_id="studies-confirm", min_width=170, variant="primary", **hidden
        )
        side.promote = gr.Button("Promote to Launch", elem_id="studies-promote", min_width=140, **hidden)
    side.refused = gr.HTML("", elem_id="studies-refused")
    side.confirmed = gr.HTML("", elem_id="studies-confirmed", apply_default_css=False)
    with gr.Column(visible=False) as side.details:
        with gr.Tabs(elem_id="studies-figures"):
            for kind, title in FIGURES.items():
                with gr.Tab(title, id=kind) as side.tabs[kind]:
                    if kind == "contour":
                        with gr.Row():
                            side.x = gr.Dropdown([], label="Across", elem_id="studies-x", min_width=140)
                            side.y = gr.Dropdown([], label="Up", elem_id="studies-y", min_width=140)
                    side.plots[kind] = gr.Plot(show_label=False, container=False, elem_id=f"studies-{kind}")
        side.table = gr.HTML("", elem_id="studies-table", apply_default_css=False)
        with gr.Row(elem_classes="kd-actions"):
            side.hand = gr.Textbox(
                label="A trial by hand", placeholder="method.temperature=2", elem_id="studies-hand", scale=4,
                info="It comes before what the sampler chooses; what is not named the sampler draws.",
            )  # fmt: skip
            side.add = gr.Button("Add", size="sm", elem_id="studies-add", min_width=80, scale=0)
    return side


# the form -------------------------------------------------------------------------------------------------------------


def _wire_form(
    form: dict[str, Any], begin: Any, weigh: Any, cost: Any, problems: Any, command: Any, side: _Side,
    board: StudyBoard, workers: Workers, page: gr.Blocks, look: dict[str, Any],
) -> None:  # fmt: skip
    workspace, controls = board.workspace, list(form.values())

    def filled_of(values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(form, values, strict=True))

    def tell(*values: Any) -> str:
        return asking.command(filled_of(values))

    def offer(fresh: bool) -> Any:
        def draw(*values: Any) -> list[Any]:
            """The rows of the space, and whether a teacher has a say."""
            filled = filled_of(values)
            needs = gr.update(interactive=catalog.may_need_teacher(filled["method"]))
            try:
                rows = asking.rows_of(workspace, filled)
            except KdError as error:
                return [gr.skip(), needs, boxes.error(error)]
            return [rows if fresh else asking.kept(rows, filled["space"]), needs, ""]

        return draw

    def fill(name: str) -> list[Any]:
        if name not in ready_made.names():
            return [gr.skip()] * len(form)
        filled: dict[str, Any] = {"ready": gr.skip()} | asking.ready(workspace, name)
        needs = catalog.may_need_teacher(filled["method"])
        filled["teacher"] = gr.update(value=filled["teacher"], interactive=needs)
        return [filled[key] for key in form]

    def arrive(request: gr.Request) -> list[Any]:
        """The form as it stands, or filled with the experiment that the address holds: Launch sends it."""
        given = (request.query_params or {}).get("spec")
        filled: dict[str, Any] = {}
        refused = ""
        try:
            filled = asking.of_spec(workspace, ExperimentSpec.from_yaml(given)) if given else {}
        except KdError as error:
            refused = boxes.error(error)
        data = filled.get("data", asking.DEFAULTS["data"])
        choices = {
            "data": catalog.with_choice(catalog.datasets(workspace), data),
            "teacher": catalog.teachers_for(workspace, data),
        }
        values = {key: {"value": filled[key]} if filled else {} for key in choices}
        shown = {key: gr.update(choices=choices[key], **values[key]) for key in choices}
        return [shown.get(key, filled.get(key, gr.skip())) for key in form] + [refused]

    def offer_teachers(choice: str) -> Any:
        """The teachers for these data; what was chosen stays chosen."""
        return gr.update(choices=catalog.teachers_for(workspace, choice))

    def start(*values: Any) -> list[Any]:
        filled = filled_of(values)
        try:
            name = workers.acting.call("begin_study", asking.asked(workspace, filled))
        except KdError as error:
            return [boxes.error(error), gr.skip()]
        return ["", gr.update(choices=board.names(), value=name)]

    def measure(*values: Any) -> list[Any]:
        filled = filled_of(values)
        try:
            spec = ExperimentSpec.from_mapping(asking.experiment(workspace, filled))
            return [asking.estimate(workers.measuring.call("forecast", spec.to_yaml()), filled), ""]
        except KdError as error:
            return ["", boxes.error(error)]

    drawn = [form["space"], form["teacher"], problems]
    page.load(arrive, None, [*controls, problems], **QUIET).then(
        lambda *values: offer(True)(*values)[:2], controls, drawn[:2], **QUIET
    )  # what was wrong with the address stays to be read
    form["ready"].input(fill, form["ready"], controls, **QUIET)
    form["method"].input(offer(True), controls, drawn, **QUIET)
    # With several goals no trial can be given up early.
    form["metrics"].input(
        lambda goals: "none" if len(goals) > 1 else gr.skip(), form["metrics"], form["pruner"], **QUIET
    )
    for name in ("student", "teacher", "data"):
        form[name].input(offer(False), controls, drawn, **QUIET)
    form["data"].input(offer_teachers, form["data"], form["teacher"], **QUIET)
    gr.on([control.change for control in controls], tell, controls, command, trigger_mode="always_last", **QUIET)
    begin.click(start, controls, [problems, side.chosen], trigger_mode="once", api_visibility="private").then(**look)
    weigh.click(measure, controls, [cost, problems], trigger_mode="once", api_visibility="private")


# how it stands --------------------------------------------------------------------------------------------------------


def _wire_side(
    side: _Side, board: StudyBoard, workers: Workers, page: gr.Blocks, seen: Any, tab: Any
) -> dict[str, Any]:
    """Wires the right card; returns the event that looks anew."""
    outputs = [seen, *(component for group in side.parts.values() for component in group)]

    def refresh(name: str | None, kind: str, x: str | None, y: str | None, known: dict[str, str]) -> list[Any]:
        """Whatever has changed since this page last looked; nothing at all when nothing has."""
        try:
            told = _told(name, kind, x, y, board)
        except KdError as error:
            told = _nothing(boxes.error(error))
        marks = {part: _mark(mark) for part, (mark, _) in told.items()}
        new = {part for part, mark in marks.items() if known.get(part) != mark}
        if not new:
            return [gr.skip()] * len(outputs)
        answer: list[Any] = [known | marks]
        for part, group in side.parts.items():
            answer += _drawn(part, told[part], board, len(group)) if part in new else [gr.skip()] * len(group)
        return answer

    look: dict[str, Any] = {
        "fn": refresh, "inputs": [side.chosen, tab, side.x, side.y, seen], "outputs": outputs,
        **quiet(side.state),
    }  # fmt: skip

    def arrive(request: gr.Request) -> list[Any]:
        try:
            names = board.names()
        except KdError as error:
            return [gr.update(choices=[], value=None), boxes.problems([str(error)])]
        wanted = (request.query_params or {}).get("name")
        if wanted and wanted not in names:
            return [gr.update(choices=names, value=None), boxes.problems([f"There is no study {wanted!r}."])]
        return [gr.update(choices=names, value=wanted or (names[0] if names else None)), ""]

    page.load(arrive, None, [side.chosen, side.refused], **QUIET).then(lambda: {}, None, seen, **QUIET).then(**look)
    side.chosen.input(lambda: "", None, side.refused, **QUIET).then(**look)
    gr.Timer(POLL_S).tick(**look, concurrency_limit=None, trigger_mode="once")
    for kind, each in side.tabs.items():
        each.select(lambda kind=kind: kind, None, tab, **QUIET).then(**look)
    for choice in (side.x, side.y):
        choice.input(**look)

    def acting(action: Any) -> Any:
        def act(*values: Any) -> str:
            """Words in the box when it was refused; an empty box when it was done."""
            try:
                gr.Info(action(*values))
            except KdError as error:
                return boxes.error(error)
            return ""

        return act

    def after(name: str) -> str:
        from studies import control

        control.stop_after_current(name, board.workspace)
        return "no further trial begins"

    def stop(name: str) -> str:
        from studies import control

        control.stop_now(name, board.workspace)
        ensure_supervisor(board.workspace)
        return "the runs stop with a checkpoint"

    def resume(name: str, most: float | None) -> str:
        from studies import control

        budget = board.view(name).plan.budget
        wanted = int(most) if most else None
        changed = budget.model_copy(update={"trials": wanted}) if wanted and wanted != budget.trials else None
        control.resume(name, board.workspace, changed)
        ensure_supervisor(board.workspace)
        return "the study goes on"

    def confirm(name: str, seeds: float | None) -> str:
        return f"{workers.acting.call('confirm_study', name, int(seeds or 0))} runs queued"

    def by_hand(name: str, line: str) -> str:
        from studies import control, space

        control.enqueue(name, space.read_values((line or "").replace(",", " ").split()), board.workspace)
        job = board.job(board.view(name))
        waits = job is None or job.state.ended
        return "it waits; resume the study with one trial more to run it" if waits else "it comes next"

    box: dict[str, Any] = {"outputs": side.refused, "trigger_mode": "once", **QUIET}
    side.after.click(acting(after), side.chosen, **box).then(**look)
    side.now.click(acting(stop), side.chosen, **box).then(**look)
    side.resume.click(acting(resume), [side.chosen, side.most], **box).then(**look)
    side.confirm.click(
        acting(confirm), [side.chosen, side.seeds], side.refused, trigger_mode="once", api_visibility="private"
    ).then(**look)
    side.add.click(acting(by_hand), [side.chosen, side.hand], **box).then(**look)
    side.hand.submit(acting(by_hand), [side.chosen, side.hand], **box).then(**look)
    side.promote.click(None, side.chosen, None, js=TO_LAUNCH, **QUIET)
    return look


def _told(name: str | None, kind: str, x: str | None, y: str | None, board: StudyBoard) -> dict[str, tuple[Any, Any]]:
    """Each part of the right card: what it depends on, and what its drawing takes."""
    if not name:
        return _nothing(shown.no_study())
    now = board.view(name)
    job = board.job(now)
    found = board.confirmation(now)
    actions = _actions(now, job)
    searched = [each.field for each in now.plan.searched]
    pair = (x if x in searched else searched[0], y if y in searched else searched[-1])
    said = shown.state(now, job)
    return {
        "state": (said, said),
        "actions": (actions, actions),
        "confirmed": (found, found),
        "table": (now, now),
        "pair": ((name, searched), (searched, pair)),
        kind: ((now.trials, now.plan, pair if kind == "contour" else None), (kind, now, pair)),
    }


def _nothing(words: str) -> dict[str, tuple[Any, Any]]:
    """No study is shown, and why."""
    return {"state": (words, words), "actions": (None, None), "confirmed": (None, None)}


def _drawn(part: str, told: tuple[Any, Any], board: StudyBoard, count: int) -> list[Any]:
    """Values for the components of a part."""
    _, content = told
    if part == "state":
        return [content]
    if part == "actions":
        return _updates(content) if content else [gr.update(visible=False)] * count
    if part == "confirmed":
        return [shown.confirmation(content) if content else ""]
    if part == "table":
        return [shown.table(content)]
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


def _mark(value: Any) -> str:
    return hashlib.sha1(repr(value).encode(), usedforsecurity=False).hexdigest()
