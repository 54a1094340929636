"""The components of the Inspect page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.pages.inspect import save
from app.pages.inspect.display import MAX_PLOTS
from app.pages.inspect.selection import BY_CLASS, RECORDED, UPLOADED
from app.theme import ASSETS
from kdengine.figures.seen import DIFFERENCE, OWN, SHARED, SIDE_BY_SIDE

PLAY_S = 1.0
TILES_JS = (ASSETS / "inspect_tiles.js").read_text()
SIZES = [("S", 64), ("M", 112), ("L", 160), ("XL", 240)]
"""Widths of a tile, pixels."""


@dataclass(eq=False)
class Form:
    """What is selected: the components above the drawings; in the order of `Selection`."""

    run: Any
    other: Any
    what: Any
    epoch: Any
    best: Any
    source: Any
    classes: Any
    count: Any
    files: Any
    stage: Any
    arrangement: Any
    scale: Any
    graph: Any
    threshold: Any

    @property
    def inputs(self) -> list[Any]:
        """All of them, as handlers get their values."""
        return list(vars(self).values())


@dataclass(eq=False)
class Parts:
    """Every component that events read or write.

    Attributes:
        group: of which the views are offered.
        play: the button that plays the epochs, with `playing` and `timer`.
        present: the button that shows the drawings alone, on the full screen.
        size: of the tiles.
        fade: the slider between image and map.
        slots: for each plot a box, its title and the plot.
        offer: what can be shown of the run.
    """

    form: Form
    group: Any
    play: Any
    present: Any
    size: Any
    fade: Any
    arrival: Any
    message: Any
    grids: Any
    slots: list[tuple[Any, Any, Any]]
    save: save.SavePanel
    offer: Any
    playing: Any
    timer: Any

    @property
    def shown(self) -> list[Any]:
        """What `Handlers.show` returns."""
        form = self.form
        slots = [part for slot in self.slots for part in slot]
        options = [form.stage, form.arrangement, form.scale, form.graph, form.threshold, form.count]
        return [self.message, self.grids, *slots, *options, self.size, self.fade]


def draw() -> Parts:
    """Draws all components into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Inspect</h1><p class="kd-lead">What did the teacher see, and what did the student learn to '
        "see? One run, or two on the same scale.</p>"
    )
    with gr.Column(elem_id="inspect-toolbar", elem_classes="card"):
        with gr.Row(equal_height=False, elem_id="inspect-form"):
            wanted, play, present = _draw_selection()
        with gr.Row(equal_height=False, elem_id="inspect-options"):
            group = gr.Radio([], label="Views", elem_id="inspect-group", min_width=120)
            what = gr.Radio([], label="View", elem_id="inspect-what", min_width=120)
            options, size, fade = _draw_options()
    form = Form(what=what, **wanted, **options)
    arrival = gr.HTML("", elem_id="inspect-arrival")
    message = gr.HTML("", elem_id="inspect-message")
    with gr.Column(elem_id="inspect-drawings"):
        loading = '<div class="kd-empty kd-waiting">Loading…</div>'
        grids = gr.HTML(loading, js_on_load=TILES_JS, elem_id="inspect-grids", apply_default_css=False)
        with gr.Row(equal_height=False):
            slots = [_draw_slot(number) for number in range(MAX_PLOTS)]
    buttons = save.draw()
    timer = gr.Timer(PLAY_S, active=False)
    return Parts(
        form, group, play, present, size, fade, arrival, message, grids, slots, buttons, gr.State({}), gr.State(False),
        timer,
    )  # fmt: skip


def _draw_selection() -> tuple[dict[str, Any], Any, Any]:
    """Run, epoch and images, by the names of `Form`; and the buttons that play the epochs and present."""
    run = gr.Dropdown([], label="Run", elem_id="inspect-run", scale=4, min_width=150)
    other = gr.Dropdown([("none", "")], value="", label="Beside", elem_id="inspect-other", scale=4, min_width=150)
    epoch = gr.Slider(
        0, 1, 1, step=1, label="Epoch (0: untrained)", elem_id="inspect-epoch", scale=3, min_width=210, buttons=[]
    )
    with gr.Column(elem_id="inspect-time", scale=0, min_width=112):
        play = gr.Button("Play", size="sm", elem_id="inspect-play", min_width=60)
        best = gr.Checkbox(False, label="Best weights", container=False, elem_id="inspect-best")
    source = gr.Radio(
        [RECORDED, BY_CLASS, UPLOADED], value=RECORDED, label="Images", elem_id="inspect-source", scale=0, min_width=230
    )
    present = gr.Button("Present", size="sm", elem_id="inspect-present", scale=0, min_width=84)
    return {"run": run, "other": other, "epoch": epoch, "best": best, "source": source}, play, present


def _draw_options() -> tuple[dict[str, Any], Any, Any]:
    """What only some views or images have, by the names of `Form`; and the sizes of tiles, and the fading."""
    hidden: dict[str, Any] = {"visible": False, "min_width": 100}
    slider: dict[str, Any] = hidden | {"buttons": []}
    classes = gr.Dropdown(
        [], multiselect=True, label="Classes (empty: all)", elem_id="inspect-classes", **hidden | {"min_width": 220}
    )
    files = gr.File(visible=False, file_count="multiple", label="Images", height=120, elem_id="inspect-files")
    count = gr.Slider(1, 128, 16, step=1, label="Images shown", elem_id="inspect-count", **slider)
    size = gr.Radio(SIZES, value=SIZES[1][1], label="Tile size", elem_id="inspect-size", **hidden)
    fade = gr.Slider(0, 1, 1, step=0.05, label="Map opacity", elem_id="inspect-fade", **slider)
    stage = gr.Radio([], label="Stage", elem_id="inspect-stage", **hidden)
    arrangement = gr.Radio(
        [SIDE_BY_SIDE, DIFFERENCE], value=SIDE_BY_SIDE, label="Show two runs", elem_id="inspect-arrangement", **hidden
    )
    scale = gr.Radio([SHARED, OWN], value=SHARED, label="Scale of the two runs", elem_id="inspect-scale", **hidden)
    graph = gr.Radio([], label="Graph", elem_id="inspect-graph", **hidden)
    threshold = gr.Slider(0, 1, 0.25, step=0.05, label="Hide edges below", elem_id="inspect-threshold", **slider)
    options = {
        "classes": classes, "count": count, "files": files, "stage": stage, "arrangement": arrangement,
        "scale": scale, "graph": graph, "threshold": threshold,
    }  # fmt: skip
    return options, size, fade


def _draw_slot(number: int) -> tuple[Any, Any, Any]:
    with gr.Column(visible=False, min_width=480, elem_classes="card kd-drawing") as box:
        title = gr.HTML("")
        plot = gr.Plot(show_label=False, container=False, elem_id=f"inspect-plot-{number}")
    return box, title, plot
