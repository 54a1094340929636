"""The response to an unknown address: a page with links to all that there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.server.notices import respond

SENTENCE = "There is nothing at this address."


def page_for(pages: Iterable[tuple[Any, ...]]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Handler of "404 Not Found".

    Args:
        pages: path and name of each page, as Gradio's Blocks list them; the first has no name there.
    """
    links = [(page[0], page[1] if page[0] else "Begin") for page in pages]
    ways = "".join(f'<a href="/{escape(path)}">{escape(name)}</a>' for path, name in links)

    async def not_found(request: Request, error: Exception) -> Response:
        return respond(request, "nothing here", SENTENCE, 404, f"<nav>{ways}</nav>")

    return not_found
