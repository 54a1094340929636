"""The few pages that are not Gradio's: one sentence, and what there is to do."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.server.language import ENGLISH, chosen, tag

# As a whole page, so that it needs nothing from a server that may not be there yet.
FRAME = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
{again}<title>kd: {title}</title>{script}
<style>
body {{ font: 16px system-ui, sans-serif; margin: 20vh auto; max-width: 32em; padding: 0 1em }}
input, button {{ font: inherit; padding: .4em .6em; margin: .3em .3em .3em 0 }}
nav a {{ margin-right: 1em }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
AGAIN = '<meta http-equiv="refresh" content="1">'


def notice(
    title: str,
    body: str,
    status: int,
    headers: Mapping[str, str] | None = None,
    again: bool = False,
    language: str = ENGLISH,
) -> HTMLResponse:
    """A page.

    Args:
        title: for the tab.
        body: HTML.
        status: HTTP status.
        headers: further ones.
        again: whether the browser asks for the same address every second, for what is not there yet.
        language: that it is shown in.
    """
    page = FRAME.format(
        again=AGAIN if again else "", title=escape(title), body=body, language=language, script=tag(language)
    )
    return HTMLResponse(page, status, {"Cache-Control": "no-store", **(headers or {})})


def respond(
    connection: HTTPConnection,
    title: str,
    sentence: str,
    status: int,
    more: str = "",
    headers: Mapping[str, str] | None = None,
    again: bool = False,
) -> Response:
    """The sentence as a page for a browser, with ``more`` HTML under it; as JSON (``detail``) for everything else."""
    if not wants_page(connection):
        return JSONResponse({"detail": sentence}, status, {"Cache-Control": "no-store", **(headers or {})})
    body = f'<p role="status">{escape(sentence)}</p>\n{more}'
    return notice(title, body, status, headers, again, chosen(connection))


def wants_page(connection: HTTPConnection) -> bool:
    """Whether a person's browser asks for a page, and not a script or a program for data."""
    return "text/html" in connection.headers.get("accept", "")
