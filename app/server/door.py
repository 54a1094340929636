"""Responds from the first second: a page that says "starting" and loads itself again, until the dashboard is made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from starlette.requests import HTTPConnection

from app.server.language import Languages, chosen
from app.server.notices import notice
from app.server.security import HEADERS, Receive, Scope, Send

# 503 and not 200: who asks for health, or is no browser, must not take this for the dashboard. A browser shows it all
# the same, and asks again for the address it was given, so that a link to a run leads there.
SENTENCE = "The dashboard is starting. It opens here by itself, in a few seconds as a rule."


async def starting(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application until there is another."""
    headers = {"Retry-After": "1", **HEADERS}
    language = chosen(HTTPConnection(scope))
    page = notice("starting", f'<p role="status">{SENTENCE}</p>', 503, headers, again=True, language=language)
    await page(scope, receive, send)


class Door:
    """An ASGI application that makes the real one in a thread and hands everything to it from then on.

    Args:
        make: makes the real application (FastAPI or Starlette).
        on_failure: called when that failed; the error is in ``failure`` then.
    """

    def __init__(self, make: Callable[[], Any], on_failure: Callable[[], None]) -> None:
        self.failure: Exception | None = None
        self._make = make
        self._on_failure = on_failure
        self._application: Any = None
        self._starting = Languages(starting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._application is not None:
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await self._starting(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013})

    async def _live(self, receive: Receive, send: Send) -> None:
        """The life of the server: the port is open from the start, the application lives from when it is made."""
        await receive()
        closing = asyncio.Event()
        opening = asyncio.create_task(self._open(closing))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        closing.set()
        if self._application is None:
            opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, closing: asyncio.Event) -> None:
        try:
            application = await asyncio.to_thread(self._make)
            async with application.router.lifespan_context(application):
                self._application = application
                await closing.wait()
        except Exception as error:
            self.failure = error
            self._on_failure()
