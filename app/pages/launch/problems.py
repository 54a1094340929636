"""Problems of an experiment, each at its field: one element carries them all, the browser puts them in their places.

To send an update to each of some three hundred fields made every click take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from app import boxes, text
from kdengine.errors import Problem

MARKS_JS = """
const mark = () => {
  document.querySelectorAll('.kd-mark').forEach(old => old.remove());
  document.querySelectorAll('.problem').forEach(field => field.classList.remove('problem'));
  const marked = element.querySelector('[data-marks]');
  for (const [id, message] of Object.entries(marked ? JSON.parse(marked.dataset.marks) : {})) {
    const field = document.getElementById(id);
    if (!field) continue;
    const words = document.createElement('div');
    words.className = 'kd-mark';
    words.textContent = '⚠ ' + message;
    field.append(words);
    field.classList.add('problem');
  }
};
mark();
watch('value', mark);
"""


def draw() -> gr.HTML:
    """Draws the element into the current Gradio context."""
    return gr.HTML("", js_on_load=MARKS_JS, elem_id="problems")


def updates(problems: list[Problem], at: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """What the element and the Launch button say, and that nothing can be tuned.

    Args:
        problems: all that was found.
        at: path of a field -> its component, for all that show; each shows the first message about its path.
    """
    # One thing that is wrong, a corrupt image, say, can be met by teacher, student and data: it is said once, at a
    # field that shows if there is one.
    placed_first = sorted(problems, key=lambda problem: _place(problem, at) is None)
    kept = list({problem.message: problem for problem in reversed(placed_first)}.values())[::-1]
    lines: list[str] = []
    marks: dict[str, str] = {}
    for problem in kept:
        component = _place(problem, at)
        lines.append(f"{component.label}: {problem.message}" if component is not None else str(problem))
        if component is not None:
            marks.setdefault(component.elem_id, problem.message)
    hidden = f'<span hidden data-marks="{text.escape(json.dumps(marks))}"></span>'
    count = len(kept)
    button = gr.update(interactive=False, value=f"{count} problem{'s' if count > 1 else ''} to fix")
    return boxes.problems(lines) + hidden, button, gr.update(interactive=False)


def _place(problem: Problem, at: Mapping[str, Any]) -> Any:
    """The component that a problem belongs to; a teacher trained first shares most fields with its student."""
    return at.get(problem.field) or at.get(problem.field.removeprefix("teacher.spec."))
