"""Images to click at, from the data of a run: always there, none has to be brought along."""

from __future__ import annotations

from typing import Any

from app import text
from kdengine.figures.images import data_url

NONE = '<p class="kd-facts">Choose a student to see images of its data.</p>'


def strip(found: list[dict[str, Any]]) -> str:
    """A button for each image, as the task `examples` returns them."""
    buttons = "".join(map(_button, found))
    return f'<div class="kd-examples" role="group" aria-label="Examples">{buttons}</div>'


def _button(one: dict[str, Any]) -> str:
    label = text.escape(one["label"])
    return (
        f'<button type="button" data-number="{one["number"]}" aria-label="Classify this image of {label}">'
        f'<img src="{data_url(one["pixels"])}" alt=""><span>{label}</span></button>'
    )


def refused(problem: Any) -> str:
    """Why there are none."""
    return f'<p class="kd-facts">No examples: {text.escape(problem)}</p>'
