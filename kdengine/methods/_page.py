"""The table of a method's settings, as its page has it, drawn from the declarations."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from kdengine.methods.base import get_method
from kdengine.spec.fields import about

HEAD = "| parameter | default | allowed | searched | where the default comes from |\n|---|---|---|---|---|\n"


def settings_table(name: str) -> str:
    """A Markdown table of all settings of a registered method: default, bounds, range for tuning, source.

    Returns:
        Lines that end in a line feed; "" for a method without settings.

    Raises:
        UnknownName: no such method.
    """
    fields = get_method(name).Params.model_fields
    return HEAD + "".join(_row(key, field) for key, field in fields.items()) if fields else ""


def in_page(page: str, table: str) -> str:
    """The page with its table of settings (from `HEAD` to the next empty line) put in the place of what is there.

    Raises:
        ValueError: the page has no such table.
    """
    before, head, after = page.partition(HEAD)
    if not head:
        raise ValueError(f"the page has no table of settings; it begins with the lines\n{HEAD}")
    _, gap, rest = after.partition("\n\n")
    return before + table + (gap[1:] + rest if gap else "")


def _row(key: str, field: FieldInfo) -> str:
    more = about(field)
    tune = more.get("tune")
    searched = f"{tune['low']:g} .. {tune['high']:g}{', log' if tune['log'] else ''}" if tune else ""
    cells = (f"`{key}`", _value(field.default), _allowed(field), searched, more.get("source", ""))
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return " | ".join(str(choice) for choice in get_args(field.annotation))
    if field.annotation is bool:
        return "True | False"
    low, high = "(-inf", "inf)"
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge | annotated_types.Gt):
            low = f"[{_value(bound.ge)}" if isinstance(bound, annotated_types.Ge) else f"({_value(bound.gt)}"
        if isinstance(bound, annotated_types.Le | annotated_types.Lt):
            high = f"{_value(bound.le)}]" if isinstance(bound, annotated_types.Le) else f"{_value(bound.lt)})"
    return f"{low}, {high}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
