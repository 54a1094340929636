"""Nothing is public by accident: checked from outside, over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app import security
from app.serve import make_app, prepare_process
from app.worker import Workers
from kdengine.cli import main
from kdengine.workspace import Workspace

PASSWORD = "correct horse battery"


@pytest.fixture
def client(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    yield from _client(workspace, monkeypatch, "127.0.0.1", None)


@pytest.fixture
def guarded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    yield from _client(workspace, monkeypatch, "0.0.0.0", PASSWORD)


def _client(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, host: str, password: str | None
) -> Iterator[TestClient]:
    for variable in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "OMP_WAIT_POLICY", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(variable, "")
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(tempfile, "tempdir", None)
    workers = Workers.of(str(workspace.root))
    prepare_process()
    web = make_app(workspace, workers, host, password)
    try:
        yield TestClient(web, base_url="http://127.0.0.1", follow_redirects=False)
    finally:
        workers.close()


def test_every_page_answers_on_loopback(client: TestClient) -> None:
    for path in ("/", "/runs", "/demo"):
        assert client.get(path).status_code == 200


def test_a_foreign_host_name_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_headers_protect_the_page(client: TestClient) -> None:
    headers = client.get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"


def test_no_list_of_routes_is_given_away(client: TestClient) -> None:
    for path in ("/openapi.json", "/redoc"):
        assert client.get(path).status_code == 404


def test_files_of_the_workspace_are_not_served(client: TestClient, workspace: Workspace) -> None:
    secret = workspace.root / "secret.txt"
    secret.write_text("secret")
    for path in (f"/gradio_api/file={secret}", "/gradio_api/file=secret.txt", f"/gradio_api/file=..{secret}"):
        assert client.get(path).status_code in (403, 404), path


def test_handlers_are_not_an_api(client: TestClient) -> None:
    """What is marked private has no name to call it by from outside."""
    listed = client.get("/gradio_api/info").json()
    assert listed["named_endpoints"] == {}


def test_without_the_password_nothing_is_shown(guarded: TestClient) -> None:
    assert guarded.get("/config").status_code == 401
    for route in ("/gradio_api/info", "/gradio_api/queue/status"):
        assert guarded.get(route).status_code in (401, 404), route
    body = {"data": [], "fn_index": 0, "session_hash": "x"}
    assert guarded.post("/gradio_api/queue/join", json=body).status_code == 401
    assert guarded.post("/gradio_api/upload", files={"files": b"x"}).status_code == 401


def test_the_right_password_opens_and_a_wrong_one_does_not(guarded: TestClient) -> None:
    wrong = guarded.post("/login", data={"username": security.USER, "password": "guess guess"})
    assert wrong.status_code == 400
    right = guarded.post("/login", data={"username": security.USER, "password": PASSWORD})
    assert right.status_code == 200
    assert guarded.get("/config").status_code == 200


def test_guessing_is_slowed_down() -> None:
    check = security.checker(PASSWORD)
    assert check(security.USER, PASSWORD)
    for _ in range(security.ATTEMPTS):
        assert not check(security.USER, "guess")
    assert not check(security.USER, PASSWORD), "after many wrong guesses even the right one must wait"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::"])
def test_an_address_for_others_needs_a_password(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KD_PASSWORD", raising=False)
    assert main(["ui", "--host", host]) == 2
    assert "KD_PASSWORD" in capsys.readouterr().err


def test_a_short_password_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KD_PASSWORD", "short")
    assert main(["ui", "--host", "0.0.0.0"]) == 2
    assert "8 characters" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    assert str(port) in capsys.readouterr().err


def test_pages_need_nothing_from_elsewhere(client: TestClient) -> None:
    """Works without internet: every script, style and font comes from this server."""
    page = client.get("/").text
    for source in ("https://cdn", "https://fonts.g", "http://cdn"):
        assert f'src="{source}' not in page and f'href="{source}' not in page
