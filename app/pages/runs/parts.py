"""The components of the Runs page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app import export_panel, text
from app.pages.runs import notes, queue, state, ticked
from app.pages.runs.search import EXAMPLES, NUMBERS, TEXTS
from app.theme import ASSETS

POLL_S = 2.0
TABLE_JS = (ASSETS / "runs_table.js").read_text()
LIVE_JS = (ASSETS / "runs_live.js").read_text()
VIEWS_JS = (ASSETS / "runs_views.js").read_text()
VIEWS = """<details class="kd-help"><summary>Views</summary><div>
<p>A view is a search with order, columns and groups, kept in this browser.</p>
<ul></ul><form><input name="name" maxlength="60" placeholder="Name" aria-label="Name of the view">
<button>Save this view</button></form></div></details>"""
TABLE = """<div class="kd-runs-tools">
<span class="kd-runs-count" role="status"></span>
<label><input type="checkbox" class="kd-fold-all"> Fold groups</label>
<details class="kd-columns"><summary>Columns</summary><div></div></details>
<button type="button" class="kd-panel-toggle" aria-expanded="true" aria-controls="run-panel">Hide details</button>
</div>
<div class="kd-tablebox" tabindex="0" role="region" aria-label="Runs"><table class="kd-table">
<thead><tr></tr></thead><tbody></tbody></table><div class="kd-empty" hidden></div></div>"""
"""What assets/runs_table.js fills."""
LABELS: dict[str, tuple[str, str, str | None]] = {
    "stop": ("Stop", "stop", None),
    "kill": ("Kill", "kill", "stop"),
    "resume": ("Resume", "resume", "primary"),
    "accept": ("Resume with the changed data", "accept", None),
    "up": ("Move up", "up", None),
    "down": ("Move down", "down", None),
    "clone": ("Clone", "clone", None),
    "inspect": ("Inspect", "to-inspect", None),
    "demo": ("Demo", "to-demo", None),
    "delete": ("Delete", "delete", None),
}
"""Of each button: its label, element id and Gradio's variant; in the order of `app.pages.runs.one.BUTTONS`."""


@dataclass(eq=False)
class Parts:
    """Every component that events read or write.

    Attributes:
        seen: marks of what this open page shows, by part.
        visit: which run was chosen last, see `app.pages.runs.handlers.Visit`.
        query: the search line, and under it ``said``, what is wrong with it.
        live: what of the table changes all the time.
        chosen_at: when the chosen run was clicked, in the browser's milliseconds.
        really: the box that asks before it deletes.
        drawn: the box of the curves.
        busy: the box of the machine's curves.
        body: the box of log, command and settings.
    """

    chosen: Any = None
    seen: Any = None
    visit: Any = None
    chosen_at: Any = None
    timer: Any = None
    query: Any = None
    said: Any = None
    ticked: Any = None
    table: Any = None
    live: Any = None
    queue: Any = None
    state: Any = None
    health: Any = None
    refused: Any = None
    really: Any = None
    consequences: Any = None
    sure: Any = None
    keep: Any = None
    drawn: Any = None
    which: Any = None
    smoothing: Any = None
    log_axis: Any = None
    curves: Any = None
    busy: Any = None
    system: Any = None
    notes: Any = None
    export: Any = None
    body: Any = None
    log: Any = None
    download: Any = None
    log_file: Any = None
    command: Any = None
    spec: Any = None
    buttons: dict[str, Any] = field(default_factory=dict)

    @property
    def boxes(self) -> list[Any]:
        """All that is there for some runs only, in the order of `Handlers.shown`."""
        return [*self.buttons.values(), self.export.box, self.export.exits, self.body]

    @property
    def view(self) -> list[Any]:
        """How the curves are drawn, as `Handlers.draw_again` gets it."""
        return [self.which, self.smoothing, self.log_axis]

    @property
    def refreshed(self) -> list[Any]:
        """What `Handlers.refresh` returns."""
        lists = [self.seen, self.table, self.live, self.said, self.state, self.health]
        curves = [self.drawn, self.curves, self.busy, self.system]
        return [*lists, *self.boxes, *self.notes.fields, *curves, self.log, self.command, self.spec]

    @property
    def selected(self) -> list[Any]:
        """What `Handlers.select` returns."""
        words = [self.chosen_at, self.chosen, self.seen, self.state, self.health, self.refused, self.really]
        return [*words, *self.boxes, *self.notes.fields, self.drawn]


def draw() -> Parts:
    """Draws all components into the current Gradio context."""
    gr.HTML('<h1 class="kd">Runs</h1>')
    parts = Parts()
    # A component and no gr.State, which reaches JavaScript as null: the buttons that lead elsewhere read it there.
    parts.chosen = gr.Textbox("", visible="hidden", elem_id="chosen-run")
    parts.seen = gr.State({})
    parts.visit = gr.State({})
    parts.chosen_at = gr.State(0.0)
    parts.timer = gr.Timer(POLL_S)
    with gr.Row(equal_height=False, elem_id="runs-row"):
        with gr.Column(elem_classes="card", scale=11, min_width=320, elem_id="runs-list"):
            _draw_list(parts)
        with gr.Column(elem_classes="card", scale=8, min_width=320, elem_id="run-panel"):
            parts.state = gr.HTML(state.nothing_chosen(), elem_id="run-state")
            parts.health = gr.HTML("", elem_id="run-health", apply_default_css=False)
            _draw_buttons(parts)
            _draw_curves(parts)
            parts.export = export_panel.draw()
            _draw_body(parts)
    return parts


def _draw_list(parts: Parts) -> None:
    with gr.Row(elem_id="runs-search-row"):
        parts.query = gr.Textbox(
            label="Search", show_label=False, container=False, max_lines=1, elem_id="runs-search",
            placeholder="Search: words, method:kd, acc>0.9, tag:paper",
        )  # fmt: skip
        gr.HTML(_search_help(), elem_id="runs-search-help", apply_default_css=False)
        gr.HTML(VIEWS, js_on_load=VIEWS_JS, elem_id="runs-views", apply_default_css=False)
    parts.said = gr.HTML("", elem_id="runs-said")
    parts.ticked = ticked.draw()
    parts.table = gr.HTML(
        "", html_template=TABLE, js_on_load=TABLE_JS, elem_id="runs-table", apply_default_css=False
    )  # fmt: skip
    parts.live = gr.HTML("", html_template="<i></i>", js_on_load=LIVE_JS, elem_id="runs-live", apply_default_css=False)
    parts.queue = queue.draw()


def _search_help() -> str:
    """What can be searched for, folded behind a question mark; each example fills the line when it is clicked."""
    examples = "".join(f'<li><button type="button" data-query="{text.escape(each)}">{text.escape(each)}</button></li>'
                       for each in EXAMPLES)  # fmt: skip
    return (
        '<details class="kd-help"><summary aria-label="How to search">?</summary><div>'
        f"<p>All words must hold. Examples:</p><ul>{examples}</ul>"
        f"<p><b>Words</b>, as <code>field:word</code>: {', '.join(TEXTS)}. A <code>*</code> at the end stands for "
        "any ending, <code>-</code> in front for not, quotes hold several words together.</p>"
        f"<p><b>Numbers</b>, with &lt; &gt; &lt;= &gt;= = !=: {', '.join(NUMBERS)} "
        "(val is the best validation accuracy, as is acc).</p></div></details>"
    )


def _draw_buttons(parts: Parts) -> None:
    with gr.Row(elem_id="run-buttons"):
        for name, (label, elem_id, variant) in LABELS.items():
            style = {"variant": variant} if variant else {}
            parts.buttons[name] = gr.Button(label, visible=False, size="sm", elem_id=elem_id, min_width=70, **style)
    parts.refused = gr.HTML("", elem_id="run-refused")
    with gr.Column(visible=False) as parts.really:
        parts.consequences = gr.HTML("", elem_id="delete-consequences")
        with gr.Row():
            parts.sure = gr.Button("Yes, delete permanently", size="sm", variant="stop", elem_id="delete-sure")
            parts.keep = gr.Button("Keep it", size="sm", elem_id="delete-keep")


def _draw_curves(parts: Parts) -> None:
    bare: dict[str, Any] = {"show_label": False, "container": False}
    with gr.Column(visible=False) as parts.drawn:
        with gr.Row(elem_id="curve-controls"):
            parts.which = gr.Radio(["weighted", "raw"], value="weighted", label="Loss terms", elem_id="loss-kind")
            parts.smoothing = gr.Slider(0, 0.99, value=0, step=0.01, label="Smoothing", elem_id="smoothing")
            parts.log_axis = gr.Checkbox(False, label="Logarithmic loss", elem_id="log-axis")
        parts.curves = gr.Plot(elem_id="run-curves", **bare)
    with (
        gr.Column(visible=False) as parts.busy,
        gr.Accordion("Machine: GPU, CPU, memory, disk", open=False, elem_id="system-box"),
    ):
        parts.system = gr.Plot(elem_id="system-plot", **bare)


def _draw_body(parts: Parts) -> None:
    with gr.Column(visible=False) as parts.body:
        parts.notes = notes.draw()
        with gr.Accordion("Log", open=True):
            parts.log = gr.HTML("", elem_id="log")
            parts.download = gr.Button("Download log", size="sm", elem_id="log-download")
            # Gradio's download button hands out the value it has when clicked: it is filled, then clicked.
            parts.log_file = gr.DownloadButton(visible="hidden", elem_id="log-file")
        with gr.Accordion("Command and settings", open=False):
            parts.command = gr.Code(
                language="shell", show_label=False, interactive=False, wrap_lines=True, show_line_numbers=False,
                elem_id="run-command",
            )  # fmt: skip
            parts.spec = gr.Code(
                language="yaml", show_label=False, interactive=False, max_lines=20, elem_id="run-spec"
            )  # fmt: skip
