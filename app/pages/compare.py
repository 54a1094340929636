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
from app.worker import Worker
from kdengine.comparison.control import stop
from kdengine.comparison.plan import Plan, list_plans, load_plan, plan_file
from kdengine.comparison.progress import MISSING, Progress, progress, unmeasured
from kdengine.comparison.report import Report, report
from kdengine.comparison.tables import FORMATS, SUFFIXES, columns, notes, report_gains, rows
from kdengine.errors import BadInput, KdError
from kdengine.figures import comparison
from kdengine.spec import with_settings
from kdengine.workspace import Workspace

POLL_S = 2.0
MEASURE_S = 6.0
FEW_ARMS = 12
DEFAULTS = {"data": "digits", "teacher": "resnet8x4", "student": "resnet20", "methods": ["kd", "dkd", "byot"]}


def build(workspace: Workspace, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Compare</h1><p class="kd-lead">Which method helps, and is that decided? Methods x seeds under '
        "one recipe; the student alone is always among them.</p>"
    )
    plans = _Plans(workspace)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=4, min_width=320):
            form = _form(workspace)
            with gr.Row():
                begin = gr.Button("Compare", variant="primary", elem_id="compare")
            problems = gr.HTML("", elem_id="compare-problems")
            command = gr.Code(
                language="shell", show_label=False, interactive=False, wrap_lines=True, show_line_numbers=False,
                elem_id="compare-command",
            )  # fmt: skip
        with gr.Column(elem_classes="card", scale=9, min_width=420):
            chosen = gr.Dropdown(
                list_plans(workspace), label="Comparison", elem_id="compare-chosen", allow_custom_value=False
            )
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
    seen = gr.State("")
    outputs = [seen, state, resume, halt, *files, gains, table]
    silent = quiet(state)

    def refresh(name: str | None, known: str) -> list[Any]:
        """The whole right side when something has changed since this page last looked, else nothing."""
        if not name:
            return ["", _empty(), *[gr.update(visible=False)] * (3 + len(files)), ""]
        try:
            now = progress(plans.get(name), workspace)
        except BadInput as error:
            return ["", boxes.problems([str(error)]), *[gr.update(visible=False)] * (3 + len(files)), ""]
        mark = _mark(now)
        if mark == known:
            return [gr.skip()] * len(outputs)
        found = report(now)
        return [mark, *_shown(found, now)]

    def arrive(request: gr.Request) -> Any:
        names = list_plans(workspace)
        wanted = (request.query_params or {}).get("name")
        return gr.update(choices=names, value=wanted if wanted in names else (names[0] if names else None))

    look = {"fn": refresh, "inputs": [chosen, seen], "outputs": outputs, **silent}
    controls = list(form.values())
    page.load(arrive, None, chosen, **silent).then(lambda: "", None, seen, **silent).then(**look)
    page.load(lambda *values: _command(form, values), controls, command, **silent)
    chosen.input(lambda: "", None, seen, **silent).then(**look)
    gr.Timer(POLL_S).tick(**look, concurrency_limit=None, trigger_mode="once")
    for control in controls:
        control.change(lambda *values: _command(form, values), controls, command, **silent)

    def start(*values: Any) -> list[Any]:
        filled = dict(zip(form, values, strict=True))
        try:
            mapping = with_settings(_mapping(workspace, filled), forms.lines(filled["settings"]))
            arguments = (filled["methods"], int(filled["seeds"] or 0), forms.lines(filled["arms"]))
            count = worker.call("begin_comparison", filled["name"] or "", mapping, *arguments)
        except KdError as error:
            return [boxes.error(error), gr.skip()]
        gr.Info(f"{count} runs queued")
        return ["", gr.update(choices=list_plans(workspace), value=filled["name"])]

    begin.click(start, controls, [problems, chosen], api_visibility="private").then(
        lambda: "", None, seen, **silent
    ).then(**look)

    def again(name: str) -> None:
        try:
            gr.Info(f"{worker.call('resume_comparison', name)} runs queued")
        except KdError as error:
            gr.Warning(str(error))

    def end(name: str) -> None:
        gr.Info(f"{stop(plans.get(name), workspace)} runs are stopped")

    resume.click(again, chosen, None, **silent).then(**look)
    halt.click(end, chosen, None, **silent).then(**look)

    def measure(name: str | None) -> None:
        """One run at a time, and only when nothing trains: a busy machine measures its own business."""
        if not name:
            return
        try:
            now = progress(plans.get(name), workspace)
            if not now.under_way and unmeasured(now):
                worker.call("measure_comparison", name)
        except KdError as error:
            gr.Warning(str(error))

    gr.Timer(MEASURE_S).tick(measure, chosen, None, concurrency_limit=1, trigger_mode="once", **silent)


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
        choices = [("no teacher", ""), *catalog.teachers(workspace, {"name": DEFAULTS["data"]})]
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
    with gr.Row():
        form["epochs"] = gr.Number(12, label="Epochs", precision=0, minimum=1, elem_id="compare-epochs", min_width=100)
        form["seeds"] = gr.Number(
            5, label="Seeds", info="Of every arm.", precision=0, minimum=1, maximum=50, elem_id="compare-seeds",
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


def _command(form: dict[str, Any], values: tuple[Any, ...]) -> str:
    """What a shell would take for the same comparison."""
    filled = dict(zip(form, values, strict=True))
    words = ["kd", "compare", filled["name"] or "NAME"]
    if filled["methods"]:
        words += ["--methods", ",".join(filled["methods"])]
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


def _empty() -> str:
    return '<div class="kd-empty">No comparison yet.<br>Pick methods on the left, or <code>kd compare</code>.</div>'


def _mark(now: Progress) -> str:
    parts = [(cell.state, cell.run.id if cell.run else "") for cell in now.cells]
    whole = repr((now.plan.name, parts, len(unmeasured(now)), now.teacher))
    return hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()


def _shown(found: Report, now: Progress) -> list[Any]:
    ended_early = now.count("stopped", "failed", "lost", MISSING)
    some = found.finished > 0
    return [
        _state(found, now),
        gr.update(visible=ended_early > 0 and not now.under_way),
        gr.update(visible=now.under_way),
        *[gr.update(visible=some, value=path) for path in _files(found)],
        gr.update(value=comparison.gains(report_gains(found)), visible=some),
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
    return f'<p class="kd-said">Against the student alone: {"; ".join(parts)}.</p>'


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
