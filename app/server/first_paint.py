"""What a page must have before Gradio's own scripts run: title, language, theme, one bar and not two.

Gradio hands scripts of ours to the browser as data, and runs them when it has drawn the page, in the theme that the
system prefers: too late for one that a person chose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from html import escape
from typing import Any

from starlette.requests import HTTPConnection

from app.server.language import chosen, tag
from app.server.security import Application, Receive, Scope, Send

# Gradio's, about itself: they would be the title and image of a shared link.
_CARDS = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*')
# Gradio's own bar, which would be there until the style sheets come; and the page until ours is there, which would push
# the rest of it down.
_HIDDEN = ".nav-holder { display: none !important; } gradio-app:not(:has(.kd-bar-top)) { visibility: hidden; }"
_LANGUAGE = re.compile(r'<html\s+lang="[^"]*"')
_TITLE = re.compile(r"<title>.*?</title>\s*", re.DOTALL)


class FirstPaint:
    """An ASGI application in front of Gradio's.

    Args:
        app: the application behind.
        titles: of each page by its path, ``/runs``.
        script: JavaScript that runs first.
    """

    def __init__(self, app: Application, titles: Mapping[str, str], script: str) -> None:
        self._app = app
        self._titles = titles
        self._script = script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        path = "/" + str(scope.get("path", "")).strip("/")
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or path not in self._titles:
            await self._app(scope, receive, send)
            return
        # What is compressed could not be changed; a page is twenty kilobytes.
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        language = chosen(HTTPConnection(scope))
        changing = _Changing(send, self._titles[path], self._script, language)
        await self._app({**scope, "headers": plain}, receive, changing)


class _Changing:
    """Takes a response, and sends it changed where it is a page."""

    def __init__(self, send: Send, title: str, script: str, language: str) -> None:
        self._send = send
        self._language = language
        shown = f'[data-kd-language="{language}"] {{ display: none; }}'  # the button of the language that is shown
        self._first = (
            f"<title>{escape(title)}</title>{tag(language)}<script>{script}</script><style>{_HIDDEN}{shown}</style>"
        )
        self._start: MutableMapping[str, Any] | None = None
        self._body = b""

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and _is_page(message):
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        self._body += bytes(message.get("body", b""))
        if message.get("more_body"):
            return
        body = self._changed().encode() if self._body else b""
        headers = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await self._send({**self._start, "headers": [*headers, length]})
        await self._send({"type": "http.response.body", "body": body})

    def _changed(self) -> str:
        page = _CARDS.sub("", _TITLE.sub("", self._body.decode()))
        page = _LANGUAGE.sub(f'<html lang="{self._language}"', page, count=1)
        return page.replace("<head>", f"<head>{self._first}", 1)


def _is_page(message: MutableMapping[str, Any]) -> bool:
    headers: dict[bytes, bytes] = dict(message["headers"])
    return bool(message["status"] == 200) and headers.get(b"content-type", b"").startswith(b"text/html")
