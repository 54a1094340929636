"""The language of the pages: which one a visitor gets, and that the catalogue is whole."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from app import frame
from app.server import language
from app.server.language import COOKIE, ENGLISH, Languages, catalogs, chosen, tag
from app.server.notices import respond

CHINESE = "zh-CN"
PLACE = re.compile(r"\{\w+\}")


def visitor(cookie: str | None = None, accept: str | None = None) -> HTTPConnection:
    named = {"cookie": f"other=1; {COOKIE}={cookie}" if cookie else None, "accept-language": accept}
    headers = [(name.encode(), value.encode()) for name, value in named.items() if value]
    return HTTPConnection({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ENGLISH),
        ({"accept": "zh-CN,zh;q=0.9,en;q=0.8"}, CHINESE),
        ({"accept": "zh-TW"}, CHINESE),
        ({"accept": "de-DE,de;q=0.9,zh;q=0.2"}, CHINESE),
        ({"accept": "en-US,en;q=0.9,zh;q=0.8"}, ENGLISH),
        ({"accept": "zh-CN", "cookie": "en"}, ENGLISH),
        ({"accept": "en", "cookie": CHINESE}, CHINESE),
        ({"accept": "zh-CN", "cookie": "../../etc/passwd"}, CHINESE),
    ],
)
def test_what_was_chosen_comes_before_what_the_browser_asks_for(given: dict[str, Any], expected: str) -> None:
    assert chosen(visitor(**given)) == expected


def test_every_language_of_the_switch_has_a_catalogue_and_the_other_way_round() -> None:
    assert set(frame.LANGUAGES) == {ENGLISH, *catalogs()}


@pytest.mark.parametrize("name", catalogs())
def test_a_translation_says_all_that_changes_and_nothing_else(name: str) -> None:
    catalog = catalogs()[name]
    assert len(catalog) > 1000
    wrong = [key for key, said in catalog.items() if set(PLACE.findall(key)) != set(PLACE.findall(said)) or not said]
    assert wrong == []
    untidy = [
        key for key in catalog if key != " ".join(key.split()) or not re.search("[A-Za-z]{2}", PLACE.sub("", key))
    ]
    assert untidy == [], "a key is what the browser shows, and says something by itself"


def served() -> TestClient:
    async def closed(scope: Any, receive: Any, send: Any) -> None:
        connection = HTTPConnection(scope)
        await respond(connection, "log in", "User name or password is wrong.", 403)(scope, receive, send)

    application = Starlette()
    application.mount("/", closed)
    return TestClient(Languages(application))


def test_a_closed_page_loads_its_script_which_strangers_get() -> None:
    client = served()
    page = client.get("/", headers={"accept": "text/html", "accept-language": "zh"})
    assert page.status_code == 403 and f'<html lang="{CHINESE}">' in page.text
    address = re.search(r'<script src="([^"]+)"></script>', page.text)
    assert address
    script = client.get(address.group(1))
    assert script.status_code == 200 and script.headers["content-type"].startswith("text/javascript")
    assert "用户名或密码" in script.text and "immutable" in script.headers["cache-control"]
    english = client.get("/", headers={"accept": "text/html"})
    assert "<script" not in english.text and '<html lang="en">' in english.text
    assert client.get("/language/xx.js").status_code == 403, "no file but those of the catalogues"


def test_the_address_of_a_script_changes_with_its_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tag(CHINESE)
    monkeypatch.setattr(language, "catalogs", lambda: {CHINESE: {"Runs": "跑"}})
    for cached in (language.script, language.tag):
        cached.cache_clear()
    try:
        assert tag(CHINESE) != before
    finally:
        monkeypatch.undo()
        for cached in (language.script, language.tag):
            cached.cache_clear()
