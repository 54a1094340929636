"""How the pages' events are wired: no API for others, and none of Gradio's progress animation.

Handlers take plain values. What Gradio alone knows of a visit, the address and which open page calls, is handed to them
by `of_address` and `of_session`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

Query = Mapping[str, str]
"""The query of an address: ``?run=7&with=8``."""

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
"""For every event but those below. Gradio tracks progress, even hidden, at each output of an event that names no place
for it, and with each change has the browser search its tree for all that it ever tracked: on Launch, half a second.
"""
WORKING: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}
"""For a click whose outputs take seconds to come and show nothing meanwhile."""


def of_address(handler: Callable[[Query], Any]) -> Callable[[gr.Request], Any]:
    """A handler for Gradio from one that takes the query of the page's address."""

    def with_query(request: gr.Request) -> Any:
        return handler(request.query_params or {})

    return _called_like(handler, with_query)


def of_session(handler: Callable[[Any, str], Any]) -> Callable[..., Any]:
    """A handler for Gradio from one that takes values and then the id of the open page that calls.

    Args:
        handler: a function, or a generator where the page is updated meanwhile.
    """

    def once(values: Any, request: gr.Request) -> Any:
        return handler(values, request.session_hash or "")

    def meanwhile(values: Any, request: gr.Request) -> Iterator[Any]:
        yield from handler(values, request.session_hash or "")

    return _called_like(handler, meanwhile if inspect.isgeneratorfunction(handler) else once)


def _called_like(handler: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper under the name of the handler, as the tests of the pages list it.

    Not `functools.wraps`: Gradio would read the other's signature.
    """
    wrapper.__name__, wrapper.__qualname__ = handler.__name__, handler.__qualname__
    return wrapper
