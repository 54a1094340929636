"""Nothing is public by accident: checked from outside, over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support import make_workspace

from app.server.gate import Entrance
from app.server.serve import make_app, prepare_process
from app.worker import Workers
from kdengine.cli import main
from kdengine.workspace import Workspace

TOKEN = "the-token-of-this-test"
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("security") / "home", furnished)


@pytest.fixture(scope="module")
def stranger(home: Workspace) -> Iterator[TestClient]:
    """Asks the whole dashboard, made once, and has no session."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "OMP_WAIT_POLICY", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(variable, "")
        patch.chdir(home.root)
        patch.setattr(tempfile, "tempdir", None)
        workers = Workers.of(str(home.root))
        prepare_process()
        web = make_app(home, workers, "127.0.0.1", Entrance.of("secret", TOKEN, None))
        try:
            yield TestClient(web, base_url="http://127.0.0.1", follow_redirects=False)
        finally:
            workers.close()


@pytest.fixture(scope="module")
def client(stranger: TestClient) -> TestClient:
    """Asks the same dashboard, and is in."""
    found = TestClient(stranger.app, base_url="http://127.0.0.1", follow_redirects=False)
    assert found.get(f"/?token={TOKEN}").status_code == 303
    return found


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


def test_files_of_the_workspace_are_not_served(client: TestClient, home: Workspace) -> None:
    secret = home.root / "secret.txt"
    secret.write_text("secret")
    for path in (f"/gradio_api/file={secret}", "/gradio_api/file=secret.txt", f"/gradio_api/file=..{secret}"):
        assert client.get(path).status_code in (403, 404), path


def test_handlers_are_not_an_api(client: TestClient) -> None:
    """What is marked private has no name to call it by from outside."""
    listed = client.get("/gradio_api/info").json()
    assert listed["named_endpoints"] == {}


EVERYTHING = [
    ("GET", "/"), ("HEAD", "/"), ("GET", "/runs"), ("GET", "/config"), ("GET", "/theme.css"), ("GET", "/nowhere"),
    ("GET", "/gradio_api/info"), ("GET", "/gradio_api/queue/status"), ("GET", "/gradio_api/queue/data?session_hash=x"),
    ("GET", "/gradio_api/heartbeat/x"), ("GET", "/gradio_api/file=/etc/hostname"), ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/upload_progress?upload_id=x"), ("POST", "/gradio_api/reset"),
    ("POST", "/gradio_api/component_server"), ("GET", "/mlflow/"),
]  # fmt: skip


@pytest.mark.parametrize("method, path", EVERYTHING)
def test_a_stranger_gets_nothing_of_the_whole_dashboard(stranger: TestClient, method: str, path: str) -> None:
    assert stranger.request(method, path).status_code == 401


@pytest.mark.parametrize("method, path", EVERYTHING)
def test_a_page_on_another_port_gets_nothing_of_the_whole_dashboard(client: TestClient, method: str, path: str) -> None:
    for headers in ({"Origin": "http://localhost:9999"}, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_gradios_own_way_out_is_closed(client: TestClient) -> None:
    assert client.get("/logout").status_code == 405
    assert client.get("/").status_code == 200


def test_an_unknown_address_leads_on(client: TestClient) -> None:
    page = client.get("/nowhere/at/all", headers=PAGE)
    assert page.status_code == 404 and "nothing at this address" in page.text
    for path, name in (
        ("", "Begin"),
        *((name.lower(), name) for name in ("Launch", "Runs", "Compare", "Studies", "Inspect")),
    ):
        assert f'<a href="/{path}">{name}</a>' in page.text
    assert '<a href="/demo">Demo</a>' in page.text
    data = client.get("/nowhere")
    assert data.status_code == 404 and data.json() == {"detail": "There is nothing at this address."}


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


def test_settings_that_protect_nothing_are_refused_all_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"KD_PASSWORD": " " * 9, "KD_TOKEN": "long enough but with blanks", "KD_PROXY": "127.0.0.1, *, x/8"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert main(["ui", "--host", "256.0.0.1", "--port", "1"]) == 2
    told = capsys.readouterr().err
    assert "KD_PASSWORD: the password is blank" in told and "KD_TOKEN: the token must have at least 16" in told
    assert "KD_PROXY: '*' is no IP address" in told and "KD_PROXY: 'x/8' is no IP address" in told
    assert "--port: cannot listen on 256.0.0.1:1" in told
    monkeypatch.setenv("KD_TOKEN", "short")
    assert main(["ui", "--host", "256.0.0.1", "--port", "1", "--proxy", "lab"]) == 2
    told = capsys.readouterr().err
    assert "KD_TOKEN" in told and "--proxy: 'lab' is no IP address" in told
