"""Runs: what is happening, and what came of it?"""

from __future__ import annotations

import hashlib
from typing import Any

import gradio as gr

from app import boxes, text
from app.board import Board, Detail, Record
from app.events import quiet
from app.pages import runs_export, runs_queue, runs_state
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.figures import curves
from kdengine.jobs import request, supervisor_alive
from kdengine.states import State

POLL_S = 2.0
LONG_BYTES = 2_000_000  # of events: read in a tenth of a second

GO_WITH = "(id) => { if (id) window.location.href = 'ADDRESS' + encodeURIComponent(id); }"
SAVE_LOG = """() => setTimeout(() => {
  if (!document.querySelector('#run-refused [role=alert]')) document.querySelector('#log-file').click();
}, 100)"""
TABLE_JS = """
const apply = () => {
  const wanted = new URLSearchParams(window.location.search).get('run');
  element.querySelectorAll('tr[data-run]').forEach(row => row.classList.toggle('chosen', row.dataset.run === wanted));
  const filters = JSON.parse(element.dataset.filters || '{}');
  element.querySelectorAll('tr[data-run]').forEach(row => {
    row.hidden = !Object.entries(filters).every(([key, value]) => row.dataset[key] === value);
  });
  const chips = element.querySelector('.kd-chips');
  if (!chips) return;
  chips.replaceChildren(...Object.entries(filters).map(([key, value]) => {
    const chip = document.createElement('button');
    chip.textContent = key + ': ' + value + '  ×';
    chip.title = 'Show all again';
    chip.onclick = (event) => {
      event.stopPropagation();
      delete filters[key];
      element.dataset.filters = JSON.stringify(filters);
      apply();
    };
    return chip;
  }));
};
const choose = (event) => {
  const filter = event.target.closest('[data-filter]');
  if (filter && event.type === 'click') {
    const [key, value] = filter.dataset.filter.split('=');
    const filters = JSON.parse(element.dataset.filters || '{}');
    if (filters[key] === value) delete filters[key]; else filters[key] = value;
    element.dataset.filters = JSON.stringify(filters);
    apply();
    return;
  }
  const row = event.target.closest('tr[data-run]');
  if (row) {
    const address = '/runs?run=' + encodeURIComponent(row.dataset.run);
    // A place in the history of the tab, so that Back leads to the run that was shown before.
    if (window.location.pathname + window.location.search !== address) history.pushState(null, '', address);
    show();
  }
};
const show = () => {
  apply();
  // Of two quick ones the later may be heard first: when it was says which counts.
  trigger('select', {run: new URLSearchParams(window.location.search).get('run') || '', at: performance.now()});
};
element.addEventListener('click', choose);
element.addEventListener('keydown', (event) => { if (event.key === 'Enter') choose(event); });
window.addEventListener('popstate', () => { if (window.location.pathname === '/runs') show(); });
watch('value', apply);
"""


def build(board: Board, worker: Worker, page: gr.Blocks, mlflow_url: str | None) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML('<h1 class="kd">Runs</h1><p class="kd-lead">What is happening, and what came of it.</p>')
    # A component and no gr.State, which reaches JavaScript as null: the buttons that lead elsewhere read it there.
    chosen = gr.Textbox("", visible="hidden", elem_id="chosen-run")
    seen = gr.State({})
    chosen_at = gr.State(0.0)
    timer = gr.Timer(POLL_S)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="card", scale=7, min_width=380):
            table = gr.HTML("", js_on_load=TABLE_JS, elem_id="runs-table", apply_default_css=False)
            runs_queue.build(board.workspace, page)
        with gr.Column(elem_classes="card", scale=8, min_width=400):
            state = gr.HTML(runs_state.nothing_chosen(), elem_id="run-state")
            with gr.Row(elem_id="run-buttons"):
                stop = gr.Button("Stop", visible=False, size="sm", elem_id="stop", min_width=70)
                kill = gr.Button("Kill", visible=False, size="sm", variant="stop", elem_id="kill", min_width=70)
                resume = gr.Button(
                    "Resume", visible=False, size="sm", variant="primary", elem_id="resume", min_width=70
                )
                accept = gr.Button(
                    "Resume with the data as they are", visible=False, size="sm", elem_id="accept", min_width=70
                )
                up = gr.Button("Move up", visible=False, size="sm", elem_id="up", min_width=70)
                down = gr.Button("Move down", visible=False, size="sm", elem_id="down", min_width=70)
                clone = gr.Button("Clone", visible=False, size="sm", elem_id="clone", min_width=70)
                inside = gr.Button("Inspect", visible=False, size="sm", elem_id="to-inspect", min_width=70)
                demo = gr.Button("Demo", visible=False, size="sm", elem_id="to-demo", min_width=70)
                delete = gr.Button("Delete", visible=False, size="sm", elem_id="delete", min_width=70)
            refused = gr.HTML("", elem_id="run-refused")
            with gr.Column(visible=False) as really:
                consequences = gr.HTML("", elem_id="delete-consequences")
                with gr.Row():
                    sure = gr.Button("Yes, delete it for good", size="sm", variant="stop", elem_id="delete-sure")
                    keep = gr.Button("Keep it", size="sm", elem_id="delete-keep")
            with gr.Column(visible=False) as drawn:
                accuracy = gr.Plot(show_label=False, container=False, elem_id="accuracy-plot")
                which = gr.Radio(
                    ["weighted", "raw"], value="weighted", show_label=False, container=False, elem_id="loss-kind"
                )
                loss = gr.Plot(show_label=False, container=False, elem_id="loss-plot")
                with gr.Accordion("Throughput", open=False):
                    speed = gr.Plot(show_label=False, container=False, elem_id="speed-plot")
            with (
                gr.Column(visible=False) as busy,
                gr.Accordion("Machine: GPU, CPU, memory, disk", open=False, elem_id="system-box"),
            ):
                system = gr.Plot(show_label=False, container=False, elem_id="system-plot")
            export = runs_export.Panel(worker, chosen)
            with gr.Column(visible=False) as body:
                with gr.Accordion("Log", open=True):
                    log = gr.HTML("", elem_id="log")
                    download = gr.Button("Whole log", size="sm", elem_id="log-download")
                    # Gradio's download button hands out the value it has when clicked: it is filled, then clicked.
                    log_file = gr.DownloadButton(visible="hidden", elem_id="log-file")
                with gr.Accordion("Command and settings", open=False):
                    command = gr.Code(
                        language="shell",
                        show_label=False,
                        interactive=False,
                        wrap_lines=True,
                        show_line_numbers=False,
                        elem_id="run-command",
                    )
                    spec = gr.Code(
                        language="yaml", show_label=False, interactive=False, max_lines=20, elem_id="run-spec"
                    )

    buttons = [stop, kill, resume, accept, up, down, clone, inside, demo, delete]
    boxes_shown = [*buttons, export.box, export.exits, body]
    outputs = [seen, table, state, *boxes_shown, drawn, accuracy, speed, loss, busy, system, log, command, spec]
    selected = [chosen_at, chosen, seen, state, refused, really, *boxes_shown, drawn]
    silent = quiet(state)
    hidden = gr.update(visible=False)

    def stands(run_id: str, detail: Detail | None, any_runs: bool) -> str:
        if detail is None:
            return runs_state.nothing_chosen(any_runs, run_id)
        return runs_state.state(detail, runs_state.mlflow_link(board, detail, mlflow_url))

    def shown(detail: Detail | None) -> list[bool]:
        return [*_visible_buttons(detail), *_exportable(detail), detail is not None]

    def changes(now: list[bool], before: list[bool] | None) -> list[Any]:
        """Only what has changed: a box that is told it is visible makes the browser copy all it holds."""
        old: list[Any] = before or [None] * len(now)
        return [gr.skip() if is_now == was else gr.update(visible=is_now) for is_now, was in zip(now, old, strict=True)]

    def select(known: dict[str, Any], latest: float, event: gr.EventData) -> list[Any]:
        """Answers a click with what takes no time, the curves follow; one that a later overtook changes nothing."""
        run_id, at = str(event._data.get("run", "")), float(event._data.get("at", 0))  # the payload of trigger() above
        if at < latest:
            return [gr.skip()] * len(selected)
        detail = board.detail(run_id)
        text_now, shown_now = stands(run_id, detail, any_runs=True), shown(detail)
        changed = changes(shown_now, known.get("shown"))
        known = known | {"state": _mark(text_now), "shown": shown_now}
        if detail is None or board.unread(run_id) < LONG_BYTES:
            return [at, run_id, known, text_now, "", hidden, *changed, gr.skip()]
        # Better no curves for a second than those of another run.
        return [at, run_id, known | {"curves": "", "loss": ""}, text_now, "", hidden, *changed, hidden]

    def refresh(run_id: str, kind: str, known: dict[str, Any]) -> list[Any]:
        """Whatever has changed since this page last looked; nothing at all when nothing has."""
        rows = board.rows()
        detail = board.detail(run_id) if run_id else None
        record = board.record(run_id) if detail else Record([], [], [])
        parts: dict[str, Any] = {
            "table": runs_state.table(rows, watched=supervisor_alive(board.workspace)),
            "state": stands(run_id, detail, bool(rows)),
            "curves": _length(run_id, record),
            "loss": (_length(run_id, record), kind),
            "system": (run_id, len(record.system)),
            "log": record.log,
            "settings": (detail.command, detail.spec) if detail else None,
        }
        changed: dict[str, Any] = {key: _mark(value) for key, value in parts.items()} | {"shown": shown(detail)}
        new = {key for key in changed if changed[key] != known.get(key)}
        if not new:
            return [gr.skip()] * len(outputs)
        answer: list[Any] = [known | changed]
        answer.append(parts["table"] if "table" in new else gr.skip())
        answer.append(parts["state"] if "state" in new else gr.skip())
        answer += changes(changed["shown"], known.get("shown"))
        answer.append(gr.update(visible=bool(record.steps)) if "curves" in new else gr.skip())
        answer += _curves(detail, record) if "curves" in new and detail else [gr.skip()] * 2
        answer.append(_loss(run_id, record, kind) if "loss" in new and detail else gr.skip())
        answer.append(gr.update(visible=bool(record.system)) if "system" in new else gr.skip())
        answer.append(curves.system(record.system, label=run_id) if "system" in new and record.system else gr.skip())
        answer.append(_log(record) if "log" in new else gr.skip())
        answer += list(_settings(detail)) if "settings" in new else [gr.skip()] * 2
        return answer

    def weigh(run_id: str, kind: str, known: dict[str, Any]) -> list[Any]:
        """The loss alone, drawn the other way."""
        record = board.record(run_id)
        return [known | {"loss": _mark((_length(run_id, record), kind))}, _loss(run_id, record, kind)]

    def arrive(request: gr.Request) -> str:
        return str((request.query_params or {}).get("run", ""))

    look = {"fn": refresh, "inputs": [chosen, which, seen], "outputs": outputs, **silent}
    page.load(arrive, None, chosen, **silent).then(lambda: {}, None, seen, **silent).then(**look)
    # All of several quick clicks count, in their order; by default those that come while one is answered are lost.
    table.select(
        select, [seen, chosen_at], selected, trigger_mode="multiple", concurrency_limit=1, **silent,
    ).then(**look)  # fmt: skip
    timer.tick(**look, concurrency_limit=None, trigger_mode="once")
    which.change(weigh, [chosen, which, seen], [seen, loss], **silent)

    def asks(what: str) -> Any:
        """What a button asks for; words in the box when it is refused, an empty box when it is done."""

        def ask_for(run_id: str) -> str:
            try:
                request(board.workspace, run_id, what)
            except KdError as error:
                return boxes.error(error)
            return ""

        return ask_for

    for button, what in (
        (stop, "stop"), (kill, "kill"), (resume, "resume"), (accept, "accept"), (up, "up"), (down, "down"),
    ):  # fmt: skip
        button.click(asks(what), chosen, refused, **silent).then(**look)
    for button, address in ((clone, "/?clone="), (inside, "/inspect?run="), (demo, "/demo?run=")):
        button.click(None, chosen, None, js=GO_WITH.replace("ADDRESS", address), **silent)

    def ask(run_id: str) -> tuple[str, Any]:
        """What would go with the run, before anything goes."""
        return runs_state.consequences(board, run_id), gr.update(visible=True)

    def remove(run_id: str) -> tuple[str, str, Any]:
        from kdengine import tracking

        try:
            tracking.delete_run(board.store, run_id)
        except KdError as error:
            return run_id, boxes.error(error), hidden
        return "", "", hidden

    delete.click(ask, chosen, [consequences, really], **silent)
    keep.click(lambda: hidden, None, really, **silent)
    sure.click(remove, chosen, [chosen, refused, really], **silent).then(**look)

    def hand_out(run_id: str) -> list[Any]:
        copy = _log_copy(board, run_id)
        return [copy, "" if copy else boxes.problems(["This run has written no log."])]

    download.click(hand_out, chosen, [log_file, refused], **silent).then(None, None, None, js=SAVE_LOG, **silent)


def _mark(value: Any) -> str:
    return hashlib.sha1(repr(value).encode(), usedforsecurity=False).hexdigest()


# one run ------------------------------------------------------------------------------------------------------------


def _visible_buttons(detail: Detail | None) -> list[bool]:
    """Visibility of stop, kill, resume, accept, up, down, clone, inspect, demo, delete."""
    if detail is None:
        return [False] * 10
    state = detail.job.state
    if detail.job.kind == "study":  # the Studies page resumes it: more than its job has to be taken up again
        return [state in (State.STARTING, State.RUNNING, State.QUEUED), state == State.STOPPING, *[False] * 8]
    active = state in (State.STARTING, State.RUNNING)
    has_student = bool(detail.status.get("best"))
    queued = state == State.QUEUED
    return [
        active or queued,
        state == State.STOPPING,
        state.resumable,
        state.resumable and detail.job.reason == "data_changed",
        queued,
        queued,
        bool(detail.spec),
        has_student,
        has_student,
        state.ended,
    ]


def _exportable(detail: Detail | None) -> tuple[bool, bool]:
    """Whether there is a student to take away, and whether it has early exits."""
    test = (detail.status.get("test") or {}) if detail and detail.job.state == State.FINISHED else {}
    return bool(test), bool(set(test) - {"best", "last"})


def _length(run_id: str, record: Record) -> tuple[str, int, int]:
    """What curves are drawn of: another for every event that came."""
    return run_id, len(record.epochs), len(record.steps)


def _curves(detail: Detail, record: Record) -> list[Any]:
    """Accuracy and throughput."""
    label = detail.job.id
    planned = (detail.spec.get("recipe") or {}).get("epochs")
    return [
        curves.accuracy(record.epochs, label=label, teacher=detail.teacher_validation, planned=planned),
        curves.throughput(record.steps, label=label),
    ]


def _loss(run_id: str, record: Record, kind: str) -> Any:
    # Steps tell more while there are few epochs; both are thinned to what a screen can show.
    events = record.steps if len(record.epochs) < 3 else record.epochs
    return curves.loss_terms(events, weighted=kind == "weighted", label=run_id)


def _log(record: Record) -> str:
    text_now = text.escape("\n".join(record.log)) or "Nothing yet."
    return f'<div class="kd-log"><pre><span>{text_now}</span></pre></div>'


def _settings(detail: Detail | None) -> tuple[str, str]:
    if detail is None:
        return "", ""
    import yaml

    return detail.command, yaml.safe_dump(detail.spec, sort_keys=False)


def _log_copy(board: Board, run_id: str) -> str | None:
    """A copy of the log in Gradio's own folder: the workspace itself is never served."""
    import shutil
    import tempfile
    from pathlib import Path

    log = board.workspace.run(run_id).log_file if run_id else None
    if log is None or not log.is_file():
        return None
    target = Path(tempfile.mkdtemp(prefix="kd-log-")) / f"{run_id}.log.txt"
    shutil.copyfile(log, target)
    return str(target)
