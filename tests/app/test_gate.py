"""Who gets through the gate, as a stranger tries it: over HTTP, in front of a small application."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.server.gate import Entrance, Gate
from app.server.security import Outermost
from app.server.sessions import ATTEMPTS, SESSION_S

TOKEN, PASSWORD = "the-token-of-this-test", "correct horse battery"
PAGE = {"Accept": "text/html"}
FOREIGN_PAGES: list[dict[str, str]] = [
    {"Origin": "http://localhost:9999"},
    {"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


async def house(request: Request) -> JSONResponse:
    seen = {"host": request.headers["host"], "scheme": request.url.scheme, "client": request.client.host}
    told = [name for name in request.headers if "forwarded" in name or name == "x-gradio-server"]
    return JSONResponse(seen | {"told": told}, headers={"Access-Control-Allow-Origin": "*"})


async def room(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("in")


def visitor(
    entrance: Entrance, host: str = "127.0.0.1", proxies: tuple[str, ...] = (), address: str = "127.0.0.1"
) -> TestClient:
    """A browser without cookies, at that address, before a house with that entrance."""
    routes = [Route("/{path:path}", house, methods=["GET", "POST"]), WebSocketRoute("/{path:path}", room)]
    app = Outermost(Gate(Starlette(routes=routes), entrance), host, proxies)
    return TestClient(app, "http://127.0.0.1:7860", follow_redirects=False, client=(address, 5000))


def with_token(**options: Any) -> TestClient:
    return visitor(Entrance.of("secret", TOKEN, None), **options)


def inside(**options: Any) -> TestClient:
    found = with_token(**options)
    assert found.get(f"/?token={TOKEN}").status_code == 303
    return found


def log_in(client: TestClient, password: str, user: str = "kd") -> int:
    return client.post("/login", data={"username": user, "password": password}).status_code


# the token -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/gradio_api/queue/join", "/gradio_api/queue/data", "/mlflow/", "/config"])
def test_a_stranger_on_the_same_machine_gets_nothing(method: str, path: str) -> None:
    assert with_token().request(method, path).status_code == 401


def test_the_closed_door_says_where_the_address_is_and_takes_the_token() -> None:
    client = with_token()
    door = client.get("/runs?run=7", headers=PAGE)
    assert door.status_code == 401 and "kd ui --list" in door.text and 'name="token"' in door.text
    assert 'value="/runs?run=7"' in door.text, "it leads on to where the visitor wanted to go"
    assert client.post("/login", data={"token": "not-the-token-at-all"}).status_code == 403
    entered = client.post("/login", data={"token": f" http://x/?token={TOKEN} ", "target": "/runs?run=7"}, headers=PAGE)
    assert (entered.status_code, entered.headers["location"]) == (303, "/runs?run=7")
    assert client.get("/").status_code == 200


def test_the_address_with_the_token_becomes_a_cookie_and_the_same_address_without_it() -> None:
    client = with_token()
    first = client.get(f"/runs?run=a%20b&token={TOKEN}&x=1", headers=PAGE)
    assert (first.status_code, first.headers["location"]) == (303, "/runs?run=a+b&x=1")
    cookie = first.headers["set-cookie"]
    assert cookie.startswith("kd-session-7860=") and TOKEN not in cookie
    assert {"HttpOnly", "SameSite=lax", f"Max-Age={int(SESSION_S)}", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example/", "///evil.example"])
def test_no_address_leads_elsewhere(path: str) -> None:
    location = with_token().get(f"http://127.0.0.1:7860{path}?token={TOKEN}").headers["location"]
    assert location.startswith("/") and location[1] not in "/\\"
    posted = with_token().post("/login", data={"token": TOKEN, "target": path}, headers=PAGE).headers["location"]
    assert posted.startswith("/") and posted[1] not in "/\\"
    outside = with_token().post("/login", data={"token": TOKEN, "target": "https://evil.example/"}, headers=PAGE)
    assert outside.headers["location"] == "/"


def test_a_program_gets_in_with_a_header() -> None:
    client = with_token()
    assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401


def test_wrong_tokens_keep_nobody_out_and_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    client = with_token()
    for _ in range(3 * ATTEMPTS):
        assert client.get("/?token=guess").status_code == 401
    assert client.get(f"/?token={TOKEN}").status_code == 303
    assert len(caplog.records) == ATTEMPTS


def test_two_dashboards_of_one_machine_do_not_log_each_other_out() -> None:
    entrances = Entrance.of("one", TOKEN, None), Entrance.of("other", "another-token-of-this-test", None)
    client = visitor(entrances[0])
    client.get(f"/?token={TOKEN}")
    other = visitor(entrances[1])
    other.cookies = client.cookies
    other.base_url = "http://127.0.0.1:7861"
    assert other.get("/").status_code == 401
    other.get("/?token=another-token-of-this-test")
    assert other.get("/").status_code == client.get("/").status_code == 200


def test_a_forged_or_late_session_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    client = inside()
    name, value = next(iter(client.cookies.items()))
    session, end, signature = value.split(".")
    for forged in (f"{session}.{int(end) + 1}.{signature}", f"{session}.{end}.", "", "é.1.x", value[:-1]):
        answer = with_token().get("/", headers={"Cookie": f"{name}={forged}".encode()})
        assert answer.status_code == 401, forged
    assert client.get("/").status_code == 200
    monkeypatch.setattr("time.time", lambda: float(end) + 1)
    late = with_token().get("/", headers={"Cookie": f"{name}={value}"})
    assert late.status_code == 401, "the server itself knows when a session ends"


def test_sessions_need_the_same_secret_token_and_password() -> None:
    session = Entrance.of("secret", TOKEN, PASSWORD).sessions.begin()
    assert Entrance.of("secret", TOKEN, PASSWORD).sessions.is_open(session)
    for other in (("other", TOKEN, PASSWORD), ("secret", TOKEN + "x", PASSWORD), ("secret", TOKEN, "changed it")):
        assert not Entrance.of(*other).sessions.is_open(session)


# other origins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", FOREIGN_PAGES, ids=str)
def test_pages_of_other_origins_are_refused_even_with_a_session(headers: dict[str, str]) -> None:
    client = inside()
    for method, path in (
        ("POST", "/gradio_api/queue/join"), ("POST", "/gradio_api/upload"), ("POST", "/mlflow/x"), ("POST", "/logout"),
        ("POST", "/login"), ("GET", "/gradio_api/queue/data"), ("GET", "/config"), ("OPTIONS", "/config"),
    ):  # fmt: skip
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 403, (method, path)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert client.get("/").status_code == 200, "and so nobody was logged out"


def test_the_dashboards_own_pages_and_links_that_are_followed_are_answered() -> None:
    client = inside()
    own = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = client.post("/gradio_api/queue/join", headers=own)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    assert client.get("/runs", headers=followed).status_code == 200
    assert client.post("/runs", headers=followed).status_code == 403


def test_sockets_need_a_session_and_their_own_page() -> None:
    def says(client: TestClient, **headers: str) -> str:
        try:
            with client.websocket_connect("/live", headers={"host": "127.0.0.1:7860"} | headers) as socket:
                return socket.receive_text()
        except WebSocketDisconnect:
            return "closed"

    client = inside()
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    assert says(with_token()) == "closed"
    assert says(with_token(), cookie=cookie) == "in"
    assert says(with_token(), cookie=cookie, origin="http://127.0.0.1:9999") == "closed"


# the password --------------------------------------------------------------------------------------------------------


def test_many_wrong_passwords_stop_their_own_address_alone(caplog: pytest.LogCaptureFixture) -> None:
    entrance = Entrance.of("secret", None, PASSWORD)
    stranger = visitor(entrance, "0.0.0.0", address="192.0.2.66")
    owner = visitor(entrance, "0.0.0.0", address="192.0.2.1")
    assert [log_in(stranger, "guess guess") for _ in range(ATTEMPTS + 1)] == [403] * ATTEMPTS + [429]
    late = stranger.post("/login", data={"username": "kd", "password": PASSWORD})
    assert late.status_code == 429 and int(late.headers["retry-after"]) > 0
    assert log_in(owner, PASSWORD) == 200 and owner.get("/").status_code == 200
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == ATTEMPTS and all("192.0.2.66" in line and "guess" not in line for line in told)
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "user, password, words",
    [
        ("", PASSWORD, "user name must"), ("kd", "", "password must"), (" ", " ", "user name and the password must"),
    ],
)  # fmt: skip
def test_blanks_are_refused_in_words_and_count_as_no_guess(user: str, password: str, words: str) -> None:
    client = visitor(Entrance.of("secret", None, PASSWORD))
    for _ in range(ATTEMPTS + 1):
        answer = client.post("/login", data={"username": user, "password": password})
        assert answer.status_code == 400 and words in answer.json()["detail"]
    assert log_in(client, PASSWORD) == 200


def test_a_wrong_user_or_no_password_at_all_opens_nothing() -> None:
    client = visitor(Entrance.of("secret", None, PASSWORD))
    assert log_in(client, PASSWORD, user="root") == 403
    assert log_in(with_token(), "None") == 403
    assert client.post("/login", data={"token": "None"}).status_code == 403
    assert client.post("/login", json={"username": "kd", "password": PASSWORD}).status_code == 400
    assert client.post("/login", data={"username": "kd", "password": "x" * 20_000}).status_code == 400
    assert client.get("/").status_code == 401


def test_logging_out_ends_that_session_alone_and_by_post_alone() -> None:
    kept: dict[str, float] = {}
    entrance = Entrance.of("secret", None, PASSWORD, keep=kept.update)
    here, there = visitor(entrance), visitor(entrance)
    assert (log_in(here, PASSWORD), log_in(there, PASSWORD)) == (200, 200)
    stolen = dict(here.cookies)
    assert here.get("/logout").status_code == 405 and here.get("/").status_code == 200
    assert here.post("/logout").status_code == 200
    assert here.get("/").status_code == 401 and there.get("/").status_code == 200
    again = visitor(entrance)
    again.cookies.update(stolen)
    assert again.get("/").status_code == 401, "the session itself has ended, not only the cookie"
    restarted = visitor(Entrance.of("secret", None, PASSWORD, kept))
    restarted.cookies.update(stolen)
    assert restarted.get("/").status_code == 401, "a server that comes back remembers"


# proxies -------------------------------------------------------------------------------------------------------------

TOLD = {
    "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "kd.lab.example",
    "X-Gradio-Server": "http://evil.example",
}  # fmt: skip


def test_nobody_is_believed_who_was_not_named() -> None:
    client = inside(address="127.0.0.1")
    assert client.get("/", headers=TOLD).json() == {
        "host": "127.0.0.1:7860", "scheme": "http", "client": "127.0.0.1", "told": []
    }  # fmt: skip
    assert "Secure" not in client.get(f"/?token={TOKEN}", headers=TOLD).headers["set-cookie"]


def test_a_stranger_cannot_take_another_address_for_each_guess() -> None:
    client = visitor(Entrance.of("secret", None, PASSWORD), "0.0.0.0", address="192.0.2.66")
    codes = [
        client.post(
            "/login", data={"username": "kd", "password": "guess"}, headers={"X-Forwarded-For": f"192.0.2.{number}"}
        ).status_code
        for number in range(ATTEMPTS + 1)
    ]
    assert codes[-1] == 429


def test_a_named_proxy_tells_who_asks_and_how() -> None:
    client = with_token(proxies=("10.0.0.0/8",), address="10.1.2.3")
    entered = client.get(f"/?token={TOKEN}", headers=TOLD)
    assert entered.headers["set-cookie"].startswith("kd-session-443=") and "; Secure" in entered.headers["set-cookie"]
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    seen = client.get("/", headers=TOLD | bearer | {"Origin": "https://kd.lab.example"}).json()
    assert seen == {"host": "kd.lab.example", "scheme": "https", "client": "203.0.113.9", "told": []}
    foreign = client.post("/", headers=TOLD | bearer | {"Origin": "https://other.lab.example"})
    assert foreign.status_code == 403
