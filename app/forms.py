"""Controls drawn from settings: one for each field of a `Settings` class, and back from their values to a mapping."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import gradio as gr
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kdengine.spec.fields import about


@dataclass(frozen=True, eq=False)
class Control:
    """One field on the page: its dotted path in the spec, its component, and how to go from one to the other."""

    path: str
    component: Any
    form: Literal["plain", "list", "optional"]
    description: str

    def to_value(self, shown: Any) -> Any:
        """What the spec takes, from what the component holds. An optional number left empty is None."""
        if self.form == "plain":
            return shown
        words = [_number(word) for word in str(shown or "").replace(",", " ").split()]
        if self.form == "list":
            return words
        return words[0] if len(words) == 1 else (shown or None)

    def to_shown(self, value: Any) -> Any:
        """What the component shows, from a value of the spec."""
        if self.form == "list":
            return ", ".join(map(str, value))
        return "" if self.form == "optional" and value is None else value if self.form == "plain" else str(value)


def controls_of(
    model: type[BaseModel], prefix: str, leave_out: tuple[str, ...] = ()
) -> Iterator[tuple[str, FieldInfo]]:
    """Path and field of every setting of a class."""
    for name, info in model.model_fields.items():
        if name not in leave_out:
            yield f"{prefix}.{name}" if prefix else name, info


def is_advanced(info: FieldInfo) -> bool:
    """Whether a field hides behind "More"."""
    return bool(about(info).get("advanced"))


def draw(path: str, info: FieldInfo, value: Any = None, **extra: Any) -> Control:
    """Draws the control of a field, inside the current Gradio context.

    Args:
        path: dotted path of the field in the spec; its element id on the page is ``field-<path with dashes>``.
        info: the field, as declared by `kdengine.spec.fields.setting`.
        value: what it shows first; by default the field's own default.
        extra: passed on to the component.
    """
    if value is None and info.default is not PydanticUndefined:
        value = info.default
    unit = about(info).get("unit")
    label = f"{info.title} ({unit})" if unit else info.title
    options = {
        "label": label,
        "info": info.description,
        "elem_id": "field-" + path.replace(".", "-"),
        "min_width": 140,
    } | extra
    kind, choices = _kind(info.annotation)
    form: Literal["plain", "list", "optional"] = "list" if kind is tuple else "plain"
    component: Any
    if choices:
        component = gr.Dropdown(choices=list(choices), value=value, **options)
    elif kind is bool:
        component = gr.Checkbox(value=bool(value), **options)
    elif kind is tuple:
        component = gr.Textbox(value=", ".join(map(str, value or ())), **options)
    elif kind is int and type(None) in get_args(info.annotation):
        # A number box cannot be empty: it would show 0.
        form = "optional"
        component = gr.Textbox(value="" if value is None else str(value), **options)
    elif kind in (int, float):
        component = gr.Number(value=value, precision=0 if kind is int else None, **options)
    else:
        component = gr.Textbox(value=value or "", **options)
    return Control(path, component, form, info.description or "")


def gather(controls: list[Control], values: Mapping[Any, Any]) -> dict[str, Any]:
    """A nested mapping from what the components hold."""
    tree: dict[str, Any] = {}
    for control in controls:
        node = tree
        *parents, leaf = control.path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = control.to_value(values[control.component])
    return tree


def _number(word: str) -> int | str:
    return int(word) if word.lstrip("-").isdigit() else word


def _kind(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The plain type behind an annotation, and its choices where it is a Literal."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _kind(next(option for option in get_args(annotation) if option is not type(None)))
    if origin is Literal:
        return str, get_args(annotation)
    return (origin or annotation), ()


def choices_of(info: FieldInfo) -> tuple[Any, ...]:
    """The values that a field lists, where it takes no others."""
    return _kind(info.annotation)[1]


def lines(words: str | None) -> list[str]:
    """Lines of a text field that say something."""
    return [line.strip() for line in (words or "").splitlines() if line.strip()]
