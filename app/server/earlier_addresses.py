"""Addresses of earlier versions lead to where their page is now: Launch stood at ``/`` once."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from app.server.security import Application, Receive, Scope, Send

OF_LAUNCH = ("clone", "study", "set")


class EarlierAddresses:
    """An ASGI application in front of another.

    Args:
        app: the application behind.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope["type"] == "http" and scope["path"] in ("", "/"):
            query = scope["query_string"].decode("latin-1")
            if any(name in QueryParams(query) for name in OF_LAUNCH):
                await RedirectResponse(f"/launch?{query}", 307)(scope, receive, send)
                return
        await self._app(scope, receive, send)
