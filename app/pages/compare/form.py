"""The left side of the Compare page: the controls of a new comparison, as a plan and as a command."""

from __future__ import annotations

import shlex
from typing import Any

import gradio as gr

from app import catalog, forms, pair_controls
from app.pair_controls import Filled
from kdengine.comparison.plan import Plan, make_plan, tuning_of
from kdengine.workspace import Workspace

METHODS = ["kd", "dkd", "byot"]


def draw(workspace: Workspace) -> dict[str, Any]:
    """Draws the controls into the current Gradio context; all of them by name."""
    form: dict[str, Any] = {"name": gr.Textbox("first", label="Name", elem_id="compare-name")}
    form |= pair_controls.draw(workspace, "compare")
    form["methods"] = gr.CheckboxGroup(
        [(title, name) for title, name in catalog.methods() if name != "none"],
        value=METHODS, label="Methods", elem_id="compare-methods",
    )  # fmt: skip
    form["cutmix"] = gr.Checkbox(
        True, label="Student alone with CutMix", info="A second baseline: regularisation without a teacher.",
        elem_id="compare-cutmix",
    )  # fmt: skip
    with gr.Row():
        form["epochs"] = gr.Number(12, label="Epochs", precision=0, elem_id="compare-epochs", min_width=100)
        form["seeds"] = gr.Number(
            5, label="Seeds", info="Per arm.", precision=0, elem_id="compare-seeds",
            min_width=100,
        )  # fmt: skip
        form["tune"] = gr.Number(
            0, label="Tuning trials", info="Per arm; 0: as they are.", precision=0, elem_id="compare-tune",
            min_width=100, minimum=0,
        )  # fmt: skip
    with gr.Accordion("More arms and settings", open=False):
        form["arms"] = gr.Textbox(
            "", label="Arms", lines=2, elem_id="compare-arms",
            info="One per line: a name and settings, e.g. dkd b2 method=dkd method.beta=2",
        )  # fmt: skip
        form["settings"] = gr.Textbox(
            "", label="Settings for all arms", lines=2, elem_id="compare-settings",
            info="One per line, e.g. recipe.lr=0.02",
        )  # fmt: skip
    return form


def request(workspace: Workspace, filled: Filled) -> tuple[Any, ...]:
    """What the task `begin_comparison` takes; raises BadInput."""
    seeds, arms = int(filled["seeds"] or 0), forms.lines(filled["arms"])
    name, cutmix, tune = filled["name"] or "", bool(filled["cutmix"]), int(filled["tune"] or 0)
    return name, pair_controls.experiment(workspace, filled), filled["methods"], seeds, arms, cutmix, tune


def plan_of(workspace: Workspace, filled: Filled) -> Plan:
    """The requested comparison; raises BadInput."""
    name, mapping, methods, seeds, arms, cutmix, tune = request(workspace, filled)
    return make_plan(name, mapping, methods, range(seeds), arms, cutmix=cutmix, tuning=tuning_of(tune))


def command(filled: Filled) -> str:
    """The shell command for the same comparison."""
    words = ["kd", "compare", filled["name"] or "NAME"]
    if filled["methods"]:
        words += ["--methods", ",".join(filled["methods"])]
    words += [] if filled["cutmix"] else ["--no-cutmix"]
    words += ["--tune", str(int(filled["tune"]))] if filled["tune"] else []
    words += ["--seeds", str(int(filled["seeds"] or 1)), *pair_controls.words(filled)]
    words += [word for line in forms.lines(filled["arms"]) for word in ("--arm", line)]
    return shlex.join(words)
