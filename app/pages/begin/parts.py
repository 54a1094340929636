"""The components of the Begin page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.pages.begin import cards

# The cards stay as they are while estimates come in, so that neither focus nor what is hovered is lost.
PUT_MINUTES_JS = """
const put = () => element.querySelectorAll('[data-of]').forEach(said => {
  const place = document.querySelector(`[data-minutes-of="${said.dataset.of}"]`);
  if (place) place.textContent = said.textContent;
});
put();
watch('value', put);
"""


@dataclass(eq=False)
class Parts:
    """Every component that events read or write."""

    minutes: Any
    last: Any


def draw() -> Parts:
    """Draws all components into the current Gradio context."""
    gr.HTML(
        '<h1 class="kd">What do you want to distil?</h1><p class="kd-lead">Every card opens a page with everything '
        "filled in; nothing trains before you say so.</p>"
    )
    gr.HTML(cards.ways(), elem_id="begin-ways", apply_default_css=False)
    minutes = gr.HTML("", js_on_load=PUT_MINUTES_JS, elem_id="begin-minutes")
    return Parts(minutes, gr.HTML("", elem_id="begin-last", apply_default_css=False))
