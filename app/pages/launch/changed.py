"""What of the experiment is not as it comes: a chip for each changed setting, which leads to its field.

Chips are drawn as one element, whose script finds the field and opens what hides it.
"""

from __future__ import annotations

import json
import pprint
import textwrap
from collections.abc import Mapping
from typing import Any

import gradio as gr

from app import text
from app.theme import ASSETS
from kdengine.errors import BadInput
from kdengine.spec import ExperimentSpec, with_settings

MAX_CHIPS = 12
PROGRAM = """from kdengine import ExperimentSpec, run

spec = ExperimentSpec.from_mapping(
{}
)
result = run(spec)
"""

LEAD_JS = (ASSETS / "changed_settings.js").read_text()


def draw() -> gr.HTML:
    """Draws the element into the current Gradio context."""
    return gr.HTML("", js_on_load=LEAD_JS, elem_id="changed", apply_default_css=False)


def changes(spec: ExperimentSpec) -> dict[str, Any]:
    """Path -> value of every setting that differs from what the same data, networks, method and recipe come with."""
    usual = _usual(spec)
    return {
        path: value
        for path, value in spec.flat().items()
        if usual.get(path) != value and not path.startswith("teacher.") and path != "title"
    }


def _usual(spec: ExperimentSpec) -> dict[str, Any]:
    """Path -> value of the same choices with every setting as it comes.

    The method keeps its settings until the last, for they can decide whether there is a teacher.
    """
    method = spec.model_dump(mode="json")["method"]
    made = _made(chosen(spec) | {"method": method}) or spec
    defaults = type(spec.method.params)().model_dump(mode="json")
    return made.flat() | {f"method.{name}": value for name, value in defaults.items()}


def chosen(spec: ExperimentSpec) -> dict[str, Any]:
    """What the cards and the recipe's name choose, as a mapping; everything else is as it comes."""
    content = spec.model_dump(mode="json")
    mapping: dict[str, Any] = {key: {"name": content[key]["name"]} for key in ("data", "student", "method", "recipe")}
    if spec.data.name == "folder":
        mapping["data"]["path"] = content["data"]["path"]
    return mapping | ({"teacher": content["teacher"]} if content["teacher"] is not None else {})


def python(spec: ExperimentSpec, found: Mapping[str, Any]) -> str:
    """The program that runs the experiment: what was chosen and changed, or all of it where that says too little.

    Args:
        spec: the experiment.
        found: its `changes`.
    """
    short = {key: value["name"] if set(value) == {"name"} else value for key, value in chosen(spec).items()}
    if spec.teacher is not None:
        short["teacher"] = spec.teacher.word().partition("@")[0]
    mapping = with_settings(short, [f"{path}={json.dumps(value)}" for path, value in found.items()])
    mapping |= {"title": spec.title} if spec.title else {}
    if _made(mapping) != spec:
        mapping = spec.model_dump(mode="json")
    said = pprint.pformat(mapping, width=76, sort_dicts=False)
    return PROGRAM.format(textwrap.indent(said, "    "))


def _made(mapping: dict[str, Any]) -> ExperimentSpec | None:
    try:
        return ExperimentSpec.from_mapping(mapping)
    except BadInput:
        return None


def chips(found: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """The changes as HTML; "" for none.

    Args:
        found: path -> value.
        at: path -> component, for the fields that show.
    """
    if not found:
        return ""
    drawn = "".join(_chip(path, value, at.get(path)) for path, value in list(found.items())[:MAX_CHIPS])
    rest = len(found) - MAX_CHIPS
    more = f"<span>and {rest} more</span>" if rest > 0 else ""
    return f'<div class="kd-changed"><b>{len(found)} changed</b>{drawn}{more}</div>'


def _chip(path: str, value: Any, component: Any) -> str:
    label = component.label if component is not None else path
    said = f'<span>{text.escape(label)}</span> <span translate="no">{text.escape(text.value(value))}</span>'
    if component is None:
        return f"<span>{said}</span>"
    return f'<button type="button" data-field="{text.escape(component.elem_id)}" title="{path}">{said}</button>'
