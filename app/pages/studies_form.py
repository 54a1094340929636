"""The left side of the Studies page: what a person asks for, and what a plan, a shell or a forecast takes of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, catalog, forms, text
from kdengine.errors import BadInput, Problem
from kdengine.spec import ExperimentSpec, nested, with_settings
from kdengine.workspace import Workspace
from studies import ready_made
from studies.words import AXES

DEFAULTS = {"data": "digits", "teacher": "resnet8x4", "student": "mobilenetv3_small", "method": "kd"}
SAMPLERS = {
    "tpe": "TPE: learns from the trials so far",
    "random": "at random",
    "grid": "grid: every point once",
    "cmaes": "CMA-ES: for many numbers",
    "gp": "Gaussian process: for few trials",
}
PRUNERS = {"median": "worse than the median so far", "hyperband": "Hyperband", "none": "no trial"}
GOALS = {"accuracy": "accuracy", "loss": "loss", "ece": "calibration (ECE)", "latency_ms": "latency",
         "parameters": "parameters", "macs": "MACs"}  # fmt: skip
SPACE = (
    '<div class="kd-tablebox"><table class="kd-table"><thead><tr><th>Search</th><th>Setting</th><th>Now</th>'
    "<th>Range</th></tr></thead><tbody></tbody></table></div>"
)
SPACE_JS = (Path(__file__).parents[1] / "assets" / "space_table.js").read_text()
COMMON = {"startup": 5, "patience": 1}

assert set(GOALS) == set(AXES)

Filled = dict[str, Any]
Row = list[Any]


def draw(workspace: Workspace) -> dict[str, Any]:
    """Draws the controls into the current Gradio context; all of them by name."""
    form: dict[str, Any] = {}
    gr.HTML('<span class="kd-head">New study</span>')
    with gr.Row():
        form["ready"] = gr.Dropdown(
            [("your own", ""), *((name, name) for name in ready_made.names())], value="", label="Begin from",
            info="A ready study fills all that is below.", elem_id="studies-ready", min_width=140,
        )  # fmt: skip
        form["name"] = gr.Textbox(
            "first", label="Name", info="Letters, digits, '.', '_', '-'.", elem_id="studies-name", min_width=140
        )
    with gr.Row():
        form["data"] = gr.Dropdown(
            catalog.datasets(workspace), value=DEFAULTS["data"], label="Data", elem_id="studies-data", min_width=140
        )
        form["per_class"] = gr.Textbox(
            "", label="Pictures per class", placeholder="all", elem_id="studies-per-class", min_width=140
        )
    with gr.Row():
        form["teacher"] = gr.Dropdown(
            catalog.teachers(workspace, {"name": DEFAULTS["data"]}), value=DEFAULTS["teacher"], label="Teacher",
            allow_custom_value=True, elem_id="studies-teacher", min_width=140,
        )  # fmt: skip
        form["student"] = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], label="Student", allow_custom_value=True,
            elem_id="studies-student", min_width=140,
        )  # fmt: skip
    with gr.Row():
        form["method"] = gr.Dropdown(
            [(title, name) for title, name in catalog.methods() if name != "none"], value=DEFAULTS["method"],
            label="Method", elem_id="studies-method", min_width=140,
        )  # fmt: skip
        form["epochs"] = gr.Number(12, label="Epochs", precision=0, elem_id="studies-epochs", min_width=140)
    form["space"] = gr.HTML(
        [], html_template=SPACE, js_on_load=SPACE_JS, elem_id="studies-space", apply_default_css=False
    )
    gr.HTML(
        '<p class="kd-facts">Tick what is searched; a range reads <code>1..10</code>, <code>0.1..5, log</code> '
        "or <code>a, b</code>. The rest stays as it is now.</p>"
    )
    with gr.Row():
        form["trials"] = gr.Number(20, label="Trials", precision=0, elem_id="studies-trials", min_width=80)
        form["hours"] = gr.Textbox("", label="Hours", placeholder="no end", elem_id="studies-hours", min_width=80)
        form["seeds"] = gr.Number(1, label="Seeds per trial", precision=0, elem_id="studies-seeds", min_width=80)
    with gr.Accordion("Goal, sampler, pruning, other settings", open=False):
        form["metrics"] = gr.Dropdown(
            [(word, name) for name, word in GOALS.items()], value=["accuracy"], multiselect=True, label="Goals",
            info="The first decides; of several the front is sought, and no trial is pruned.", elem_id="studies-goals",
        )  # fmt: skip
        with gr.Row():
            form["sampler"] = gr.Dropdown(
                [(word, name) for name, word in SAMPLERS.items()], value="tpe", label="Sampler",
                elem_id="studies-sampler", min_width=140,
            )  # fmt: skip
            form["pruner"] = gr.Dropdown(
                [(word, name) for name, word in PRUNERS.items()], value="median", label="Give up early",
                elem_id="studies-pruner", min_width=140,
            )  # fmt: skip
        with gr.Row():
            form["startup"] = gr.Number(
                COMMON["startup"], label="Start-up trials", info="At random, and never given up.", precision=0,
                elem_id="studies-startup", min_width=140,
            )  # fmt: skip
            form["patience"] = gr.Number(
                COMMON["patience"], label="Patience (epochs)", info="No trial is given up before.", precision=0,
                elem_id="studies-patience", min_width=140,
            )  # fmt: skip
        form["settings"] = gr.Textbox(
            "", label="Other settings", lines=2, info="Of all trials, one a line, e.g. recipe.lr=0.02",
            elem_id="studies-settings",
        )  # fmt: skip
    return form


# what is asked for ----------------------------------------------------------------------------------------------------


def experiment(workspace: Workspace, filled: Filled) -> dict[str, Any]:
    """The experiment as a mapping; raises BadInput for a line of settings that is none."""
    data = catalog.data_mapping(workspace, filled["data"])
    if filled["per_class"]:
        data["per_class"] = filled["per_class"].strip()
    mapping: dict[str, Any] = {
        "data": data,
        "student": {"name": filled["student"]},
        "method": {"name": filled["method"]},
        "recipe": {"epochs": int(filled["epochs"] or 0)},
    }
    if _needs_teacher(filled):
        mapping["teacher"] = filled["teacher"] or ""
    return with_settings(mapping, forms.lines(filled["settings"]))


def _needs_teacher(filled: Filled) -> bool:
    """Whether the method uses a teacher, the other settings included: one of them can decide that."""
    try:
        changes = nested(forms.lines(filled["settings"])).get("method")
    except BadInput:
        changes = None  # said where the experiment is read
    return catalog.needs_teacher(filled["method"], changes if isinstance(changes, dict) else {})


def asked(workspace: Workspace, filled: Filled) -> dict[str, Any]:
    """What `studies.plan.read` takes; raises BadInput."""
    return {
        "name": (filled["name"] or "").strip(),
        "experiment": experiment(workspace, filled),
        # A mapping without a word would stand for what the method shows first.
        "space": ranges(filled["space"]) or [],
        "metrics": list(filled["metrics"] or ()),
        "seeds": list(range(int(filled["seeds"] or 0))),
        "sampler": filled["sampler"],
        "pruner": filled["pruner"],
        "startup": int(filled["startup"] or 0),
        "patience": int(filled["patience"] or 0),
        "budget": {"trials": int(filled["trials"] or 0) or None, "hours": (filled["hours"] or "").strip() or None},
    }


def ranges(rows: Sequence[Row]) -> dict[str, str]:
    """Path -> range of the ticked rows."""
    return {str(path): _meant(str(told)) for ticked, path, _, told in rows if ticked}


def _meant(told: str) -> str:
    """What is seen holds: a range that does not say log is linear, whatever the setting declares."""
    told = told.strip()
    return f"{told}, linear" if ".." in told and not told.endswith(("log", "linear")) else told


def command(filled: Filled) -> str:
    """What a shell would take for the same study."""
    words = ["kd", "study", "new", filled["name"] or "NAME", "--dataset", catalog.dataset_word(filled["data"])]
    if _needs_teacher(filled):
        words += ["--teacher", filled["teacher"] or "none"]
    words += ["--student", filled["student"] or "", "--method", filled["method"]]
    words += ["--epochs", str(int(filled["epochs"] or 1))]
    if filled["per_class"]:
        words += ["--set", f"data.per_class={filled['per_class'].strip()}"]
    words += [word for line in forms.lines(filled["settings"]) for word in ("--set", line)]
    for path, told in ranges(filled["space"]).items():
        words += ["--tune", f"{path}={told.replace(' ', '')}" if told else path]
    words += ["--trials", str(int(filled["trials"] or 0))] if filled["trials"] else []
    words += ["--hours", filled["hours"].strip()] if filled["hours"] else []
    words += ["--seeds", str(int(filled["seeds"] or 1))] if filled["seeds"] != 1 else []
    words += ["--metrics", ",".join(filled["metrics"])] if filled["metrics"] not in ([], ["accuracy"]) else []
    for option, usual in (("sampler", "tpe"), ("pruner", "median"), *COMMON.items()):
        words += [f"--{option}", str(filled[option])] if filled[option] != usual else []
    return shlex.join(words)


# filling it -----------------------------------------------------------------------------------------------------------


def rows_of(workspace: Workspace, filled: Filled) -> list[Row]:
    """A row for every setting that the experiment offers; raises BadInput."""
    from studies.space import offered

    spec = ExperimentSpec.from_mapping(experiment(workspace, filled))
    return _rows(offered(spec), spec)


def kept(rows: list[Row], before: Sequence[Row]) -> list[Row]:
    """The rows with the ticks and ranges that a person gave them, but for the student's, which names itself."""
    known = {row[1]: row for row in before}
    return [
        [known[row[1]][0], *row[1:3], known[row[1]][3]] if row[1] in known and row[1] != "student.name" else row
        for row in rows
    ]


def _rows(dimensions: Sequence[Any], spec: ExperimentSpec) -> list[Row]:
    flat = spec.flat()
    return [[each.on, each.field, text_of(flat.get(each.field, "")), each.text()] for each in dimensions]


def text_of(value: Any) -> str:
    """A value as a person would type it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def ready(workspace: Workspace, name: str) -> Filled:
    """What every control shows for a ready study."""
    from studies.plan import read

    plan = read(ready_made.load(name))
    spec = ExperimentSpec.from_mapping(plan.experiment)
    return of_spec(workspace, spec) | {
        "name": name,
        "space": _rows(plan.space, spec),
        "trials": plan.budget.trials or 0,
        "hours": str(plan.budget.hours or ""),
        "seeds": len(plan.seeds),
        "metrics": list(plan.metrics),
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "startup": plan.startup,
        "patience": plan.patience,
    }


def of_spec(workspace: Workspace, spec: ExperimentSpec) -> Filled:
    """What the controls of the experiment show for a spec, what has no control among the other settings.

    Raises BadInput for a run without a method to tune.
    """
    if spec.method.name == "none":
        raise BadInput(Problem("method", "the student alone has no method to tune; choose one"))
    filled: Filled = {
        "data": catalog.data_choice(workspace, spec.model_dump(mode="json")["data"]),
        "per_class": str(spec.data.per_class or ""),
        "teacher": spec.teacher.word() if spec.teacher is not None else DEFAULTS["teacher"],
        "student": spec.student.name,
        "method": spec.method.name,
        "epochs": spec.recipe.epochs,
        "settings": "",
    }
    usual = ExperimentSpec.from_mapping(experiment(workspace, filled)).flat()
    more = {path: value for path, value in spec.flat().items() if not path.startswith("teacher.")}
    changed = {path: value for path, value in more.items() if usual.get(path) != value}
    return filled | {"settings": "\n".join(f"{path}={value}" for path, value in changed.items())}


def estimate(forecast: Mapping[str, Any], filled: Filled) -> str:
    """How long the study will take, from a forecast of one run."""
    runs = int(filled["trials"] or 0) * int(filled["seeds"] or 1)
    each, teacher = forecast["seconds"], forecast["teacher_seconds"]
    first = f", the teacher first in {text.duration(teacher)}" if teacher else ""
    if not runs:
        return boxes.note(f"One run takes about {text.duration(each)} on {forecast['device']}{first}.")
    whole = text.duration(runs * each + teacher)
    return boxes.note(
        f"At most about {whole}: {runs} runs of {text.duration(each)} one after the other{first}, on "
        f"{forecast['device']}. Pruning and several slots shorten it."
    )
