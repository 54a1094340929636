"""The values of the form on the Studies page as experiment, plan and command, and back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from app import boxes, catalog, forms, text
from kdengine.errors import BadInput, Problem
from kdengine.spec import ExperimentSpec, nested, with_settings
from kdengine.workspace import Workspace
from studies import ready_made
from studies.words import AXES

DEFAULTS = {"data": "digits", "teacher": "resnet8x4", "student": "mobilenetv3_small", "method": "kd"}
SAMPLERS = {
    "tpe": "TPE: learns from the trials so far",
    "random": "random",
    "grid": "grid: every point once",
    "cmaes": "CMA-ES: for many numeric settings",
    "gp": "Gaussian process: for few trials",
}
PRUNERS = {"median": "trials worse than the median so far", "hyperband": "Hyperband", "none": "none"}
OBJECTIVES = {"accuracy": "accuracy", "loss": "loss", "ece": "calibration (ECE)", "latency_ms": "latency",
         "parameters": "parameters", "macs": "MACs"}  # fmt: skip
COMMON = {"startup": 5, "patience": 1}

assert set(OBJECTIVES) == set(AXES)

Filled = dict[str, Any]
Row = list[Any]


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


def plan_mapping(workspace: Workspace, filled: Filled) -> dict[str, Any]:
    """The plan as a mapping, for `studies.plan.read`; raises BadInput."""
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
    return {str(path): _meant(str(range_text)) for ticked, path, _, range_text in rows if ticked}


def _meant(range_text: str) -> str:
    """What is seen holds: a range that does not say log is linear, whatever the setting declares."""
    range_text = range_text.strip()
    return f"{range_text}, linear" if ".." in range_text and not range_text.endswith(("log", "linear")) else range_text


def command(filled: Filled) -> str:
    """The shell command for the same study."""
    words = ["kd", "study", "new", filled["name"] or "NAME", "--dataset", catalog.dataset_word(filled["data"])]
    if _needs_teacher(filled):
        words += ["--teacher", filled["teacher"] or "none"]
    words += ["--student", filled["student"] or "", "--method", filled["method"]]
    words += ["--epochs", str(int(filled["epochs"] or 1))]
    if filled["per_class"]:
        words += ["--set", f"data.per_class={filled['per_class'].strip()}"]
    words += [word for line in forms.lines(filled["settings"]) for word in ("--set", line)]
    for path, range_text in ranges(filled["space"]).items():
        words += ["--tune", f"{path}={range_text.replace(' ', '')}" if range_text else path]
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
    first = f", after {text.duration(teacher)} for the teacher" if teacher else ""
    if not runs:
        return boxes.note(f"One run takes about {text.duration(each)} on {forecast['device']}{first}.")
    whole = text.duration(runs * each + teacher)
    return boxes.note(
        f"At most about {whole}: {runs} runs of {text.duration(each)}, one at a time{first}, on "
        f"{forecast['device']}. Pruning and parallel runs shorten it."
    )
