"""How the pages' events are wired: no API for others, and none of Gradio's progress animation."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""For events with few outputs."""


def quiet(place: Any) -> dict[str, Any]:
    """The same for events with many outputs, or that come every second.

    Gradio tracks progress, even hidden, at every output of an event, and has the browser copy all that these and what
    lies in them hold, twice an event: a tenth of a second on a page with plots. Told one place, it tracks it there.

    Args:
        place: a small component of the page, such as a line of HTML.
    """
    return {**QUIET, "show_progress_on": place}
