"""The answer to an address that leads nowhere: a page with the ways to all that there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.notices import told

SENTENCE = "There is nothing at this address."


def answer_for(pages: Iterable[tuple[Any, ...]]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Handler of "404 Not Found".

    Args:
        pages: path and name of each page, as Gradio's Blocks list them; the first is the form to launch a run.
    """
    links = [(page[0], page[1] if page[0] else "Launch") for page in pages]
    ways = "".join(f'<a href="/{escape(path)}">{escape(name)}</a>' for path, name in links)

    async def answer(request: Request, error: Exception) -> Response:
        return told(request, "nothing here", SENTENCE, 404, f"<nav>{ways}</nav>")

    return answer
