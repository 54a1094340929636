"""Inspect: what did the teacher see, and what did the student learn to see?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr

from app import boxes, text
from app.board import Board
from app.events import QUIET, quiet
from app.pages import inspect_save
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.figures.seen import DIFFERENCE, SIDE_BY_SIDE, Drawing, Seen, Wishes

MOST_PLOTS = 10
PLAY_S = 1.0
RECORDED, BY_CLASS, UPLOADED = "recorded", "by class", "mine"
FADE_JS = "(share) => { document.documentElement.style.setProperty('--kd-fade', share); }"
ADDRESS_JS = """
(run, other, what, epoch, best) => {
  const words = new URLSearchParams({run: run || '', what: what || '', epoch: best ? 'best' : epoch});
  if (other) words.set('with', other);
  if (run) history.replaceState(null, '', '/inspect?' + words);
}
"""


@dataclass(eq=False)
class _Form:
    """What is asked for: the components above the drawings."""

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
    graph: Any
    threshold: Any

    @property
    def inputs(self) -> list[Any]:
        return list(vars(self).values())


@dataclass(frozen=True)
class _Asked:
    """The same as plain values."""

    run: str | None
    other: str | None
    what: str | None
    epoch: int
    best: bool
    source: str
    classes: list[str] | None
    count: int
    files: list[str] | None
    stage: str | None
    arrangement: str
    graph: str | None
    threshold: float

    def to_worker(self, offer: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """What `tasks.inspect` takes, and what the person should know about it."""
        asked: dict[str, Any] = {"run": self.run, "with": self.other or None, "what": self.what}
        if self.source == BY_CLASS:
            asked |= {"classes": self.classes or [], "count": int(self.count)}
        if self.source == UPLOADED and self.files:
            asked |= {"files": list(self.files)}
        made = len(asked) > 3 or self.what not in offer["recorded"]
        numbers = offer["weights"] if made else offer["epochs"]
        asked["epoch"] = "best" if self.best or not numbers else _nearest(numbers, self.epoch)
        if self.best or asked["epoch"] == self.epoch:
            return asked, ""
        shown = "the best epoch" if asked["epoch"] == "best" else f"epoch {asked['epoch']}"
        if not made:
            return asked, f"Epoch {self.epoch:.0f} was not looked at while it trained: shown is {shown}."
        note = f"This is made from weights, and those of epoch {self.epoch:.0f} were not kept: shown is {shown}."
        return asked, note + " The setting Keep epochs keeps more."


def _nearest(numbers: list[int], wanted: float) -> int:
    return min(numbers, key=lambda number: abs(number - wanted))


def build(board: Board, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">Inspect</h1><p class="kd-lead">What did the teacher see, and what did the student learn to '
        "see? One run, or two on the same scale.</p>"
    )
    form, play, fade = _draw_form()
    arrival = gr.HTML("", elem_id="inspect-arrival")
    message = gr.HTML("", elem_id="inspect-message")
    with gr.Column(elem_id="inspect-drawings"):
        grids = gr.HTML('<div class="kd-empty">Reading…</div>', elem_id="inspect-grids")
        with gr.Row(equal_height=False):
            slots = [_slot(number) for number in range(MOST_PLOTS)]
    save = inspect_save.Panel(worker)
    offer = gr.State({})
    timer = gr.Timer(PLAY_S, active=False)
    outputs = [
        message,
        grids,
        *(part for slot in slots for part in slot),
        form.stage,
        form.arrangement,
        form.graph,
        form.threshold,
        fade,
    ]

    def arrive(request: gr.Request) -> list[Any]:
        """What the address names, the newest run without a name; what is not there is said, not replaced."""
        query = request.query_params or {}
        choices = _choices(board)
        values = [value for _, value in choices]
        wanted = [query[key] for key in ("run", "with") if query.get(key)]
        missing = boxes.without_network([run for run in wanted if run not in values])
        run = query.get("run") or (values[0] if values and not wanted else None)
        other = query.get("with")
        epoch = query.get("epoch", "")
        told = describe(
            run if run in values else None, query.get("what"), int(epoch) if epoch.isdigit() else -1, epoch == "best"
        )
        return [
            missing,
            gr.update(choices=choices, value=run if run in values else None),
            gr.update(choices=[("none", ""), *choices], value=other if other in values else ""),
            *told,
        ]

    def describe(run: str | None, what: str | None, epoch: int, best: bool) -> list[Any]:
        """What there is of a run; as much of what was asked for as there is."""
        nothing = [{}, gr.skip(), gr.skip(), gr.skip(), gr.skip()]
        if not run:
            return nothing
        try:
            found = worker.call("what_to_inspect", run)
        except KdError as error:
            gr.Warning(str(error))
            return nothing
        names = [name for _, name in found["views"]]
        numbers = found["epochs"]
        last = max(numbers, default=0)
        return [
            found,
            gr.update(choices=found["views"], value=what if what in names else names[0]),
            gr.update(maximum=max(1, last), value=epoch if epoch in numbers else last, interactive=bool(numbers)),
            gr.update(value=best or not numbers, interactive=bool(numbers)),
            gr.update(choices=found["classes"]),
        ]

    def show(found: dict[str, Any], *values: Any) -> list[Any]:
        asked = _Asked(*values)
        if asked.run and not (found and asked.what):
            return [gr.skip()] * len(outputs)
        if not asked.run or not asked.what:
            return _told(outputs, "", _empty(bool(_choices(board))), [])
        request, note = asked.to_worker(found)
        try:
            answer = worker.call("inspect", request)
            drawings = _drawn(answer, asked)
        except KdError as error:
            return _told(outputs, boxes.refusal(error), "", [])
        where = f"What was not recorded is {answer['beside']}." if answer.get("beside") else ""
        said = " ".join(filter(None, (_sentence(answer, asked), note, _other_epoch(answer, request), where)))
        words = f'<p class="kd-lead" id="inspect-sentence">{text.escape(said)}</p>'
        return _told(outputs, words, "", drawings, answer, asked)

    def advance(found: dict[str, Any], epoch: int) -> Any:
        later = [number for number in found.get("epochs", []) if number > epoch]
        return later[0] if later else found.get("epochs", [epoch])[0]

    look = {
        "fn": show,
        "inputs": [offer, *form.inputs],
        "outputs": outputs,
        **quiet(message),
        "trigger_mode": "always_last",
    }
    tell = {"fn": describe, "inputs": [form.run, form.what, form.epoch, form.best],
            "outputs": [offer, form.what, form.epoch, form.best, form.classes], **QUIET}  # fmt: skip
    address = {"fn": None, "inputs": [form.run, form.other, form.what, form.epoch, form.best], "outputs": None,
               "js": ADDRESS_JS, **QUIET}  # fmt: skip
    page.load(arrive, None, [arrival, form.run, form.other, *tell["outputs"]], **QUIET).then(**look).then(**address)
    form.run.input(**tell).then(**look).then(**address)
    form.run.input(lambda: "", None, arrival, **QUIET)
    for part in (
        form.other,
        form.what,
        form.best,
        form.classes,
        form.stage,
        form.arrangement,
        form.graph,
        form.threshold,
    ):
        part.input(**look).then(**address)
    form.epoch.change(**look).then(**address)
    form.count.release(**look)
    form.files.change(**look)
    form.source.input(_source_parts, form.source, [form.classes, form.count, form.files], **QUIET).then(**look)
    fade.change(None, fade, None, js=FADE_JS, **QUIET)
    play.click(
        lambda on: (gr.update(active=not on), not on, "Pause" if not on else "Play"), timer_on := gr.State(False),
        [timer, timer_on, play], **QUIET,
    )  # fmt: skip
    timer.tick(advance, [offer, form.epoch], form.epoch, **QUIET)
    save.listen(offer, form.inputs, lambda found, *values: _Asked(*values).to_worker(found)[0], _drawn_again)


def _draw_form() -> tuple[_Form, Any, Any]:
    """The controls: the form, the button that plays the epochs, and the slider between picture and map."""
    with gr.Row(equal_height=True, elem_id="inspect-form"):
        with gr.Column(elem_classes="card", scale=9, min_width=440), gr.Row():
            run = gr.Dropdown([], label="Run", elem_id="inspect-run", min_width=180)
            other = gr.Dropdown([("none", "")], value="", label="Beside it", elem_id="inspect-other", min_width=180)
        with gr.Column(elem_classes="card", scale=5, min_width=300):
            with gr.Row():
                epoch = gr.Slider(
                    0, 1, 1, step=1, label="Epoch (0 is untrained)", elem_id="inspect-epoch", scale=5, buttons=[]
                )
                play = gr.Button("Play", size="sm", elem_id="inspect-play", scale=1, min_width=60)
            best = gr.Checkbox(False, label="the best weights instead", container=False, elem_id="inspect-best")
        with gr.Column(elem_classes="card", scale=5, min_width=300):
            source = gr.Radio(
                [RECORDED, BY_CLASS, UPLOADED], value=RECORDED, label="Pictures", elem_id="inspect-source"
            )
            classes = gr.Dropdown(
                [], multiselect=True, visible=False, label="Classes", info="Empty: all.", elem_id="inspect-classes"
            )
            count = gr.Slider(1, 128, 16, step=1, visible=False, label="How many", elem_id="inspect-count", buttons=[])
            files = gr.File(visible=False, file_count="multiple", label="Pictures", height=120, elem_id="inspect-files")
    what = gr.Radio([], show_label=False, container=False, elem_id="inspect-what")
    with gr.Row(equal_height=True, elem_id="inspect-options"):
        fade = gr.Slider(0, 1, 1, step=0.05, label="Picture to map", visible=False, elem_id="inspect-fade", buttons=[])
        stage = gr.Radio([], label="Stage", visible=False, elem_id="inspect-stage")
        arrangement = gr.Radio(
            [SIDE_BY_SIDE, DIFFERENCE],
            value=SIDE_BY_SIDE,
            label="Two runs",
            visible=False,
            elem_id="inspect-arrangement",
        )
        graph = gr.Radio([], label="Graph", visible=False, elem_id="inspect-graph")
        threshold = gr.Slider(
            0, 1, 0.25, step=0.05, label="Edges from (of the strongest)", visible=False, elem_id="inspect-threshold",
            buttons=[],
        )  # fmt: skip
    form = _Form(run, other, what, epoch, best, source, classes, count, files, stage, arrangement, graph, threshold)
    return form, play, fade


def _slot(number: int) -> tuple[Any, Any, Any]:
    with gr.Column(visible=False, min_width=420, elem_classes="card kd-drawing") as box:
        title = gr.HTML("")
        plot = gr.Plot(show_label=False, container=False, elem_id=f"inspect-plot-{number}")
    return box, title, plot


def _source_parts(source: str) -> list[Any]:
    return [gr.update(visible=source == BY_CLASS)] * 2 + [gr.update(visible=source == UPLOADED)]


def _choices(board: Board) -> list[tuple[str, str]]:
    return [(row.called(text.percent(row.best)), row.id) for row in board.trained()]


def _empty(has_run: bool) -> str:
    return '<div class="kd-empty">Choose a run.</div>' if has_run else boxes.NO_NETWORK


def _drawn(answer: dict[str, Any], asked: _Asked) -> list[Drawing]:
    from kdengine.figures.inspection import draw

    wishes = Wishes(
        stage=int(asked.stage) if asked.stage and asked.stage.isdigit() else None,
        arrangement=asked.arrangement,
        threshold=asked.threshold,
        graph=None if asked.graph in (None, "") else asked.graph,
        places=_places(answer),
        anchors=answer["anchor"] if answer["kind"] == "plane" else {},
    )
    return draw(answer["kind"], answer["seen"], wishes)


def _drawn_again(answer: dict[str, Any], *values: Any) -> list[Drawing]:
    return _drawn(answer, _Asked(*values))


def _places(answer: dict[str, Any]) -> Any:
    """Where the pictures of a graph stand: by what stays over the epochs, the teacher's graph where there is one."""
    if answer["kind"] != "graph":
        return None
    name = next(name for name in ("embedding_teacher", "embedding_student") if name in answer["anchor"])
    adjacency = answer["anchor"][name]
    return _placed(adjacency.tobytes(), adjacency.shape[0], str(adjacency.dtype))


@lru_cache(maxsize=16)
def _placed(content: bytes, count: int, kind: str) -> Any:
    import numpy as np

    from kdengine.figures.sample_graphs import places

    return places(np.frombuffer(content, kind).reshape(count, count))


def _sentence(answer: dict[str, Any], asked: _Asked) -> str:
    """What is seen: of a difference not what its two sides would show."""
    if answer["kind"] == "maps" and len(answer["seen"]) == 2 and asked.arrangement == DIFFERENCE:
        return f"{answer['title']}: the first run minus the second, each map as a share of its own maximum."
    return str(answer["sentence"])


def _other_epoch(answer: dict[str, Any], request: dict[str, Any]) -> str:
    """Says so where the second run is shown at another epoch than the first."""
    seen: list[Seen] = answer["seen"]
    if len(seen) < 2 or seen[1].epoch == seen[0].epoch or request["epoch"] == "best":
        return ""
    shown = "its best weights" if seen[1].epoch is None else f"its epoch {seen[1].epoch}"
    return f"The second run has nothing of epoch {request['epoch']}: shown is {shown}."


def _told(
    outputs: list[Any],
    message: str,
    empty: str,
    drawings: list[Drawing],
    answer: dict[str, Any] | None = None,
    asked: _Asked | None = None,
) -> list[Any]:
    """Values for all outputs: message, grids, slots of plots, and which options there are."""
    cards = [
        f'<div class="card kd-drawing">{_heading(each)}<div class="kd-scroll">{each.svg}</div></div>'
        for each in drawings
        if each.svg
    ]
    grids = f'<div class="kd-pair">{"".join(cards)}</div>' if len(cards) == 2 else "".join(cards)
    plots = [each for each in drawings if each.figure is not None][:MOST_PLOTS]
    values: list[Any] = [message, grids or empty]
    for number in range(MOST_PLOTS):
        one = plots[number] if number < len(plots) else None
        values += [gr.update(visible=one is not None), _heading(one) if one else "", one.figure if one else None]
    return values + _options(answer, asked)


def _heading(one: Drawing) -> str:
    note = f'<p class="kd-facts">{text.escape(one.note)}</p>' if one.note else ""
    return f"<h3>{text.escape(one.title)}</h3>{note}"


def _options(answer: dict[str, Any] | None, asked: _Asked | None) -> list[Any]:
    """Updates of stage, arrangement, graph, threshold and fading."""
    if answer is None or asked is None:
        return [gr.update(visible=False)] * 5
    from kdengine.figures.map_panels import stages_of
    from kdengine.figures.sample_graphs import graphs_of

    seen: list[Seen] = answer["seen"]
    kind = answer["kind"]
    stages = [str(stage) for stage in stages_of(seen[0].arrays)] if kind == "maps" else []
    graphs = graphs_of(seen[0].arrays) if kind == "graph" else []
    return [
        gr.update(
            visible=bool(stages),
            choices=stages,
            value=asked.stage if asked.stage in stages else stages[-1] if stages else None,
        ),
        gr.update(visible=kind == "maps" and len(seen) == 2),
        gr.update(
            visible=len(graphs) > 1,
            choices=[("of the embedding" if name == "embedding" else "the method's own", name) for name in graphs],
            value=asked.graph if asked.graph in graphs else graphs[0] if graphs else None,
        ),
        gr.update(visible=kind == "graph"),
        gr.update(visible=kind == "maps"),
    ]
