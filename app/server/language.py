"""The language of the pages: which one a visitor gets, and the script that shows them in it.

Every text is written in English where it is made. `app/languages/<language>.json` gives it in another language, and
`assets/language.js` puts that in its place in the browser, wherever the text came from: a page, the engine, a plot.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import Response

from app.server.security import Application, Receive, Scope, Send

_APP = Path(__file__).parents[1]
CATALOGS = _APP / "languages"
SCRIPT = _APP / "assets" / "language.js"
ENGLISH = "en"
COOKIE = "kd_language"
PATH = "/language/"
YEAR_S = 365 * 24 * 3600


@cache
def catalogs() -> dict[str, dict[str, str]]:
    """Of every language but English: the English text -> the text in that language."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(CATALOGS.glob("*.json"))}


def chosen(connection: HTTPConnection) -> str:
    """The language of a visitor: what was chosen on the page, else the first that the browser asks for and we have."""
    named = connection.cookies.get(COOKIE)
    if named in (ENGLISH, *catalogs()):
        return str(named)
    asked = [
        each.partition(";")[0].strip().lower() for each in connection.headers.get("accept-language", "").split(",")
    ]
    for wanted in asked:
        if wanted.split("-")[0] == ENGLISH:
            return ENGLISH
        for language in catalogs():
            if wanted.split("-")[0] == language.lower().split("-")[0]:
                return language
    return ENGLISH


@cache
def script(language: str) -> str:
    """The script of a language, with its catalogue."""
    words = json.dumps(catalogs()[language], ensure_ascii=False, separators=(",", ":"))
    return f"window.kdCatalog = {words};\n{SCRIPT.read_text()}"


@cache
def tag(language: str) -> str:
    """The HTML that loads it; "" for English. The address changes with what is in it, so a browser may keep it."""
    if language == ENGLISH:
        return ""
    mark = hashlib.sha256(script(language).encode()).hexdigest()[:12]
    return f'<script src="{PATH}{language}.js?{mark}"></script>'


class Languages:
    """An ASGI application in front of another: hands out the scripts, to strangers too, whose log-in page needs them.

    Args:
        app: the application behind.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        language = str(scope.get("path", "")).removeprefix(PATH).removesuffix(".js")
        if scope["type"] != "http" or not scope["path"].startswith(PATH) or language not in catalogs():
            await self._app(scope, receive, send)
            return
        headers = {"Cache-Control": f"max-age={YEAR_S}, immutable"}
        response = Response(script(language), media_type="text/javascript", headers=headers)
        await response(scope, receive, send)
