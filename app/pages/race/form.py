"""The controls of a new race, as a race and as a command."""

from __future__ import annotations

import shlex
from typing import Any

import gradio as gr

from app import boxes, catalog, pair_controls
from app.pair_controls import Filled
from kdengine.comparison.plan import ALONE, candidates
from kdengine.errors import BadInput
from kdengine.workspace import Workspace
from studies.race import words
from studies.race.plan import SEEDS, RacePlan, make_race

HOURS = 1.0


def draw(workspace: Workspace) -> dict[str, Any]:
    """Draws the controls into the current Gradio context; all of them by name."""
    form: dict[str, Any] = {}
    with gr.Row():
        form["name"] = gr.Textbox("first", label="Name", elem_id="race-name")
        form["hours"] = gr.Number(
            HOURS, label="Hours", info="Training the teacher not counted.", elem_id="race-hours", minimum=0,
            min_width=120,
        )  # fmt: skip
    form |= pair_controls.draw(workspace, "race")
    with gr.Row():
        form["epochs"] = gr.Number(12, label="Epochs", precision=0, elem_id="race-epochs", min_width=100)
        form["seeds"] = gr.Number(
            SEEDS, label="Seeds", info="Of each finalist.", precision=0, elem_id="race-seeds", min_width=100
        )
    with gr.Accordion("Methods and settings", open=False):
        form["methods"] = gr.Dropdown(
            [(title, name) for title, name in catalog.methods() if name != ALONE], value=[], multiselect=True,
            label="Methods", info="None chosen: all that go with these networks.", elem_id="race-methods",
        )  # fmt: skip
        form["settings"] = gr.Textbox(
            "", label="Settings for all methods", lines=2, elem_id="race-settings",
            info="One per line, e.g. recipe.lr=0.02",
        )  # fmt: skip
    return form


def request(workspace: Workspace, filled: Filled) -> tuple[Any, ...]:
    """What the task `begin_race` takes; raises BadInput."""
    mapping = pair_controls.experiment(workspace, filled)
    methods, hours, seeds = filled["methods"] or [], float(filled["hours"] or 0), int(filled["seeds"] or 0)
    return filled["name"] or "", mapping, methods, hours, seeds


def race_of(workspace: Workspace, filled: Filled) -> RacePlan:
    """The requested race; raises BadInput. Where no method is chosen, all that may go with a teacher, or without."""
    name, mapping, methods, hours, seeds = request(workspace, filled)
    return make_race(name, mapping, methods or candidates(filled["teacher"]), hours, seeds)


def command(filled: Filled) -> str:
    """The shell command for the same race."""
    words = ["kd", "race", filled["name"] or "NAME", "--hours", f"{float(filled['hours'] or 0):g}"]
    if filled["methods"]:
        words += ["--methods", ",".join(filled["methods"])]
    words += ["--seeds", str(int(filled["seeds"] or 0))]
    return shlex.join([*words, *pair_controls.words(filled)])


def summary(workspace: Workspace, filled: Filled) -> tuple[str, str]:
    """The command, and in HTML what will happen or what is wrong."""
    try:
        race = race_of(workspace, filled)
    except BadInput as error:
        return command(filled), boxes.problems([str(problem) for problem in error.problems])
    return command(filled), boxes.notes("What will happen", words.course_of(race))
