"""Problems of an experiment, each at its field: one element carries them all, the browser puts them in their places.

To send an update to each of some three hundred fields made every click take seconds.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from app import boxes, text
from app.forms import Control
from kdengine.errors import Problem

MARKS_JS = """
const mark = () => {
  document.querySelectorAll('.kd-mark').forEach(old => old.remove());
  document.querySelectorAll('.problem').forEach(field => field.classList.remove('problem'));
  const told = element.querySelector('[data-marks]');
  for (const [id, message] of Object.entries(told ? JSON.parse(told.dataset.marks) : {})) {
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


def box() -> gr.HTML:
    """The element, in the current Gradio context."""
    return gr.HTML("", js_on_load=MARKS_JS, elem_id="problems")


def told(problems: list[Problem], seen: list[Control]) -> tuple[str, Any]:
    """What the element and the Launch button say.

    Args:
        problems: all that was found.
        seen: the controls that show, each of which takes the first word about its path.
    """
    at = {control.path: control.component for control in seen}
    said = {(problem.field, problem.message) for problem in problems}
    # A teacher trained first shares most fields with its student; what is wrong with them is said once.
    problems = [
        p for p in problems if (p.field.removeprefix("teacher.spec."), p.message) not in said - {(p.field, p.message)}
    ]
    elsewhere = [str(problem) for problem in problems if problem.field not in at]
    named = [f"{at[problem.field].label}: {problem.message}" for problem in problems if problem.field in at]
    marks: dict[str, str] = {}
    for problem in problems:
        if problem.field in at:
            marks.setdefault(at[problem.field].elem_id, problem.message)
    hidden = f'<span hidden data-marks="{text.escape(json.dumps(marks))}"></span>'
    count = len(problems)
    button = gr.update(interactive=False, value=f"{count} problem{'s' if count > 1 else ''} to mend")
    return boxes.problems(elsewhere + named) + hidden, button
