"""Compare: which method helps, and is that decided?"""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, catalog, forms, text
from app.events import quiet
from app.worker import Workers
from kdengine.comparison.control import stop
from kdengine.comparison.plan import Plan, list_plans, load_plan, make_plan, plan_file
from kdengine.comparison.progress import MISSING, Progress, progress, unmeasured
from kdengine.comparison.report import Report, report
from kdengine.comparison.tables import FORMATS, SUFFIXES, columns, notes, report_gains, rows
from kdengine.errors import BadInput, KdError
from kdengine.figures import comparison
from kdengine.jobs import ensure_supervisor
from kdengine.spec import with_settings
from kdengine.workspace import Workspace

POLL_S = 2.0
MEASURE_S = 6.0
FEW_ARMS = 12
DEFAULTS = {"data": "digits", "teacher": "resnet8x4", "student": "resnet20", "methods": ["kd", "dkd", "byot"]}
NO_TEACHER = ("no teacher", "")
NOTHING_MEASURED: dict[str, Any] = {"of": "", "seconds": None, "note": ""}


def build(workspace: Workspace, workers: Workers, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Compare</h1><p class="kd-lead">Which method helps, and is that decided? Methods x seeds under '
        "one recipe; the student alone is always among them.</p>"
    )
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=4, min_width=320):
            form = _form(workspace)
            with gr.Row():
                begin = gr.Button("Compare", variant="primary", elem_id="compare")
            cost = gr.HTML("", elem_id="compare-cost")
            problems = gr.HTML("", elem_id="compare-problems")
            command = gr.Code(
                language="shell", show_label=False, interactive=False, wrap_lines=True, show_line_numbers=False,
                elem_id="compare-command",
            )  # fmt: skip
        with gr.Column(elem_classes="card", scale=9, min_width=420):
            chosen = gr.Dropdown(
                list_plans(workspace), label="Comparison", elem_id="compare-chosen", allow_custom_value=False
            )
            refused = gr.HTML("", elem_id="compare-refused")
            state = gr.HTML('<div class="kd-empty">Reading…</div>', elem_id="compare-state")
            with gr.Row():
                resume = gr.Button("Resume", size="sm", visible=False, elem_id="compare-resume", min_width=80)
                halt = gr.Button("Stop all", size="sm", visible=False, elem_id="compare-stop", min_width=80)
                files = [
                    gr.DownloadButton(label, size="sm", visible=False, elem_id=f"compare-{kind}", min_width=80)
                    for kind, label in zip(FORMATS, ("CSV", "Markdown", "LaTeX", "HTML"), strict=True)
                ]
            gains = gr.Plot(show_label=False, container=False, visible=False, elem_id="compare-gains")
            table = gr.HTML("", elem_id="compare-table", apply_default_css=False)
    events = _Events(form, workspace, workers)
    _wire_form(form, begin, cost, problems, command, chosen, refused, events, page)
    _wire_side(chosen, refused, resume, halt, [state, resume, halt, *files, gains, table], events, page)


def _wire_form(
    form: dict[str, Any], begin: Any, cost: Any, problems: Any, command: Any, chosen: Any, refused: Any,
    events: _Events, page: gr.Blocks,
) -> None:  # fmt: skip
    controls = list(form.values())
    silent = quiet(cost)
    measured = gr.State(NOTHING_MEASURED)
    tell = {"fn": events.tell, "inputs": [measured, *controls], "outputs": [command, begin, cost]}
    measure = {"fn": events.measure, "inputs": controls, "outputs": measured}
    watched = [control.change for control in controls]
    gr.on(watched, **tell, trigger_mode="always_last", **silent)
    gr.on(watched, **measure, trigger_mode="always_last", concurrency_limit=1, **silent).then(**tell, **silent)
    page.load(**tell, **silent).then(**measure, **silent).then(**tell, **silent)
    form["data"].input(events.offer_teachers, form["data"], form["teacher"], **silent)
    begin.click(events.start, controls, [problems, chosen, refused], trigger_mode="once", **silent)


def _wire_side(
    chosen: Any, refused: Any, resume: Any, halt: Any, shown: list[Any], events: _Events, page: gr.Blocks
) -> None:
    seen = gr.State("")
    silent = quiet(shown[0])
    look = {"fn": events.refresh, "inputs": [chosen, seen], "outputs": [seen, *shown], **silent}
    forget = {"fn": lambda: "", "inputs": None, "outputs": seen, **silent}
    page.load(events.arrive, None, [chosen, refused], **silent).then(**forget).then(**look)
    chosen.change(**forget).then(**look)
    chosen.input(lambda: "", None, refused, **silent)
    gr.Timer(POLL_S).tick(**look, concurrency_limit=None, trigger_mode="once")
    resume.click(events.again, chosen, refused, trigger_mode="once", **silent).then(**look)
    halt.click(events.end, chosen, refused, trigger_mode="once", **silent).then(**look)
    gr.Timer(MEASURE_S).tick(
        events.measure_finished, chosen, None, concurrency_limit=1, trigger_mode="once", **silent
    )  # fmt: skip


class _Events:
    """What the page answers.

    Args:
        form: the controls by name.
        workspace: whose comparisons are shown and begun.
        workers: who computes.
    """

    def __init__(self, form: dict[str, Any], workspace: Workspace, workers: Workers) -> None:
        self.names = list(form)
        self.workspace = workspace
        self.workers = workers
        self.plans = _Plans(workspace)
        self._unmeasurable: set[str] = set()

    # the form -------------------------------------------------------------------------------------------------------

    def tell(self, measured: dict[str, Any], *values: Any) -> list[Any]:
        """Command, button with the number of runs and their time, and what each arm is."""
        filled = self._filled(values)
        command = _command(filled)
        try:
            plan = self._plan(filled)
        except BadInput:
            return [command, gr.update(value="Compare"), ""]
        count = len(plan.arms) * len(plan.seeds)
        seconds = measured["seconds"] if measured["of"] == plan.to_yaml() else None
        time = f", about {text.duration(seconds)}" if seconds is not None else ""
        label = f"Compare: {count} run{'s' if count > 1 else ''}{time}"
        arms = ", ".join(arm.name for arm in plan.arms)
        said = f"{len(plan.arms)} arms ({arms}) x {len(plan.seeds)} seeds. {measured['note'] if time else ''}"
        return [command, gr.update(value=label), boxes.note(said)]

    def measure(self, *values: Any) -> dict[str, Any]:
        """What the runs will take one after the other, from a forecast of each arm."""
        filled = self._filled(values)
        try:
            plan = self._plan(filled)
            each = [
                self.workers.background.call("forecast", plan.spec(arm, plan.seeds[0]).to_yaml()) for arm in plan.arms
            ]
        except KdError:
            return NOTHING_MEASURED
        teacher = max(forecast["teacher_seconds"] for forecast in each)
        first = f"The teacher is trained first, {text.duration(teacher)}; it is counted. " if teacher else ""
        seconds = teacher + len(plan.seeds) * sum(forecast["seconds"] for forecast in each)
        return {"of": plan.to_yaml(), "seconds": seconds, "note": f"{first}One run at a time, on {each[0]['device']}."}

    def offer_teachers(self, choice: str) -> Any:
        """The teachers for these data; what was chosen stays chosen."""
        return gr.update(choices=[NO_TEACHER, *catalog.teachers_for(self.workspace, choice)])

    def start(self, *values: Any) -> list[Any]:
        """Queues the runs and shows the comparison; or says what is wrong."""
        filled = self._filled(values)
        try:
            arguments = self._arguments(filled)
            count = self.workers.acting.call("begin_comparison", *arguments)
        except KdError as error:
            return [boxes.error(error), gr.skip(), gr.skip()]
        choices = gr.update(choices=list_plans(self.workspace), value=filled["name"])
        return ["", choices, boxes.note(f"{count} runs queued.")]

    def _filled(self, values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.names, values, strict=True))

    def _arguments(self, filled: dict[str, Any]) -> tuple[Any, ...]:
        mapping = with_settings(_mapping(self.workspace, filled), forms.lines(filled["settings"]))
        seeds, arms = int(filled["seeds"] or 0), forms.lines(filled["arms"])
        return filled["name"] or "", mapping, filled["methods"], seeds, arms, bool(filled["cutmix"])

    def _plan(self, filled: dict[str, Any]) -> Plan:
        name, mapping, methods, seeds, arms, cutmix = self._arguments(filled)
        return make_plan(name, mapping, methods, range(seeds), arms, cutmix=cutmix)

    # how it stands --------------------------------------------------------------------------------------------------

    def arrive(self, request: gr.Request) -> list[Any]:
        """The comparison that the address names, the newest without a name; an unknown one is said to be unknown."""
        names = list_plans(self.workspace)
        wanted = (request.query_params or {}).get("name")
        if wanted and wanted not in names:
            return [gr.update(choices=names, value=None), boxes.problems([f"There is no comparison {wanted!r}."])]
        return [gr.update(choices=names, value=wanted or (names[0] if names else None)), ""]

    def refresh(self, name: str | None, known: str) -> list[Any]:
        """The whole right side when something has changed since this page last looked, else nothing."""
        hidden = [gr.update(visible=False)] * (3 + len(FORMATS))
        if not name:
            return ["", _empty(bool(list_plans(self.workspace))), *hidden, ""]
        try:
            now = progress(self.plans.get(name), self.workspace)
        except KdError as error:
            return ["", boxes.error(error), *hidden, ""]
        mark = _mark(now)
        if mark == known:
            return [gr.skip()] * (3 + len(hidden))  # mark, text, what can be hidden, what is missing
        return [mark, *_shown(report(now), now)]

    def again(self, name: str | None) -> str:
        """Queues again what is missing or has ended early."""
        try:
            return boxes.note(f"{self.workers.acting.call('resume_comparison', name or '')} runs queued.")
        except KdError as error:
            return boxes.error(error)

    def end(self, name: str | None) -> str:
        """Stops what runs and waits."""
        try:
            plan = self.plans.get(name or "")
            ensure_supervisor(self.workspace)
            return boxes.note(f"{stop(plan, self.workspace)} runs are stopped.")
        except KdError as error:
            return boxes.error(error)

    def measure_finished(self, name: str | None) -> None:
        """One run at a time, and only when nothing trains: a busy machine measures its own business."""
        if not name or name in self._unmeasurable:
            return
        try:
            now = progress(self.plans.get(name), self.workspace)
            if not now.under_way and unmeasured(now):
                self.workers.background.call("measure_comparison", name)
        except KdError as error:
            self._unmeasurable.add(name)  # said once, not every few seconds
            gr.Warning(str(error))


class _Plans:
    """Plans by name, read again only when their file was written again."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, tuple[int, Plan]] = {}

    def get(self, name: str) -> Plan:
        """The plan; raises BadInput when there is none."""
        file = plan_file(self._workspace, name)
        written = file.stat().st_mtime_ns if file.exists() else 0
        known = self._known.get(name)
        if known is None or known[0] != written:
            known = (written, load_plan(self._workspace, name))
            self._known[name] = known
        return known[1]


# the form ------------------------------------------------------------------------------------------------------------


def _form(workspace: Workspace) -> dict[str, Any]:
    """The controls by name."""
    gr.HTML('<span class="kd-head">New comparison</span>')
    form: dict[str, Any] = {"name": gr.Textbox("first", label="Name", elem_id="compare-name")}
    with gr.Row():
        form["data"] = gr.Dropdown(
            catalog.datasets(workspace), value=DEFAULTS["data"], label="Data", elem_id="compare-data"
        )
        form["per_class"] = gr.Textbox(
            "", label="Pictures per class", placeholder="all", elem_id="compare-per-class", min_width=120
        )
    with gr.Row():
        choices = [NO_TEACHER, *catalog.teachers(workspace, {"name": DEFAULTS["data"]})]
        form["teacher"] = gr.Dropdown(
            choices, value=DEFAULTS["teacher"], label="Teacher", allow_custom_value=True, elem_id="compare-teacher"
        )
        form["student"] = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], label="Student", allow_custom_value=True,
            elem_id="compare-student",
        )  # fmt: skip
    form["methods"] = gr.CheckboxGroup(
        [(title, name) for title, name in catalog.methods() if name != "none"],
        value=DEFAULTS["methods"], label="Methods", elem_id="compare-methods",
    )  # fmt: skip
    form["cutmix"] = gr.Checkbox(
        True, label="Student alone with CutMix", info="A second baseline: what regularisation gives without a teacher.",
        elem_id="compare-cutmix",
    )  # fmt: skip
    with gr.Row():
        form["epochs"] = gr.Number(12, label="Epochs", precision=0, elem_id="compare-epochs", min_width=100)
        form["seeds"] = gr.Number(
            5, label="Seeds", info="Of every arm.", precision=0, elem_id="compare-seeds",
            min_width=100,
        )  # fmt: skip
    with gr.Accordion("More arms and settings", open=False):
        form["arms"] = gr.Textbox(
            "", label="Arms", lines=2, elem_id="compare-arms",
            info="One a line: a name and settings, e.g. dkd b2 method=dkd method.beta=2",
        )  # fmt: skip
        form["settings"] = gr.Textbox(
            "", label="Settings of all arms", lines=2, elem_id="compare-settings",
            info="One a line, e.g. recipe.lr=0.02",
        )  # fmt: skip
    return form


def _mapping(workspace: Workspace, filled: dict[str, Any]) -> dict[str, Any]:
    data = catalog.data_mapping(workspace, filled["data"])
    if filled["per_class"]:
        data["per_class"] = filled["per_class"].strip()
    mapping = {"data": data, "student": filled["student"], "recipe": {"epochs": int(filled["epochs"] or 1)}}
    return mapping | ({"teacher": filled["teacher"]} if filled["teacher"] else {})


def _command(filled: dict[str, Any]) -> str:
    """What a shell would take for the same comparison."""
    words = ["kd", "compare", filled["name"] or "NAME"]
    if filled["methods"]:
        words += ["--methods", ",".join(filled["methods"])]
    words += [] if filled["cutmix"] else ["--no-cutmix"]
    words += ["--seeds", str(int(filled["seeds"] or 1)), "--dataset", catalog.dataset_word(filled["data"])]
    if filled["teacher"]:
        words += ["--teacher", filled["teacher"]]
    words += ["--student", filled["student"] or "", "--epochs", str(int(filled["epochs"] or 1))]
    if filled["per_class"]:
        words += ["--set", f"data.per_class={filled['per_class'].strip()}"]
    words += [word for line in forms.lines(filled["settings"]) for word in ("--set", line)]
    words += [word for line in forms.lines(filled["arms"]) for word in ("--arm", line)]
    return shlex.join(words)


# how it stands -------------------------------------------------------------------------------------------------------


def _empty(any_comparison: bool) -> str:
    if any_comparison:
        return '<div class="kd-empty">Choose a comparison above.</div>'
    return '<div class="kd-empty">No comparison yet.<br>Pick methods on the left, or <code>kd compare</code>.</div>'


def _mark(now: Progress) -> str:
    parts = [(cell.state, cell.run.id if cell.run else "") for cell in now.cells]
    whole = repr((now.plan.name, parts, len(unmeasured(now)), now.teacher))
    return hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()


def _shown(found: Report, now: Progress) -> list[Any]:
    ended_early = now.count("stopped", "failed", "lost", MISSING) + len(now.blocked)
    some = found.finished > 0
    return [
        _state(found, now),
        gr.update(visible=ended_early > 0 and not now.under_way),
        gr.update(visible=now.under_way),
        *[gr.update(visible=some, value=path) for path in _files(found)],
        gr.update(value=comparison.gains(report_gains(found), found.against), visible=some),
        _table(found) if some else "",
    ]


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
    words += [f"{len(now.blocked)} wait: {text.escape('; '.join(blocked))}"] if blocked else []
    left = len(unmeasured(now))
    if not now.under_way and found.finished and left:
        words.append(f"measuring fidelity and latency, {left} to go")
    share = found.finished / max(1, found.total)
    bar = f'<div class="kd-bar"><i style="width:{100 * share:.1f}%"></i></div>' if now.under_way else ""
    # Of many arms the dots are news only while they change.
    folded = "" if now.under_way or len(now.plan.arms) <= FEW_ARMS else "<summary>every run</summary>"
    dots = f"<details>{folded}{_matrix(now)}</details>" if folded else _matrix(now)
    return f'<div class="kd-state kd-num">{_said(found)}{" · ".join(words)}{bar}{dots}</div>'


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
    return f'<p class="kd-said">Against {text.escape(found.against)}: {"; ".join(parts)}.</p>'


_VERBS = {"helps": "said to help", "hurts": "said to hurt"}


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
    head = "".join(f'<th class="{"r" if number else ""}">{text.escape(title)}</th>'
                   for number, title in enumerate(columns(found)))  # fmt: skip
    body = "".join(f"<tr>{_cells(line)}</tr>" for line in rows(found))
    said = "".join(f"<li>{text.escape(note)}</li>" for note in notes(found))
    return (
        f'<div class="kd-tablebox"><table class="kd-table kd-gains"><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><ul class="kd-facts kd-notes">{said}</ul>'
    )


def _cells(line: tuple[str, ...]) -> str:
    return "".join(f'<td class="{"r" if number else ""}">{_verdict(cell)}</td>' for number, cell in enumerate(line))


def _verdict(cell: str) -> str:
    kind = {"helps": "kd-right", "hurts": "kd-wrong"}.get(cell.removesuffix(" *"))
    return f'<b class="{kind}">{text.escape(cell)}</b>' if kind else text.escape(cell)
