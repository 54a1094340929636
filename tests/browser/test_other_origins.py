"""What a page on another port of this machine can do to a dashboard that its visitor has open: nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from dashboard import Dashboard
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

TRY = """async ([path, options]) => {
    try { return (await fetch(path, {credentials: "include", ...options})).status } catch (error) { return "refused" }
}"""
A_CLICK = {"method": "POST", "headers": {"Content-Type": "text/plain"}, "body": '{"data": [], "fn_index": 0}'}


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Address of a page of somebody else on this machine."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"somebody else")

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_on_another_port_reads_and_does_nothing(dashboard: Dashboard, page: Page, elsewhere: str) -> None:
    page.goto(dashboard.url)
    assert page.evaluate(TRY, ["/config", {}]) == 200, "the visitor has a session, and the browser sends it along"
    page.goto(elsewhere)
    answers: dict[str, int] = {}
    page.on("response", lambda response: answers.update({f"{response.request.method} {response.url}": response.status}))
    for path, options in (
        ("/config", {}),
        ("/gradio_api/queue/join", A_CLICK),
        ("/gradio_api/queue/join", {**A_CLICK, "headers": {"Content-Type": "application/json"}}),
        ("/logout", {"method": "POST"}),
    ):
        assert page.evaluate(TRY, [dashboard.url + path, options]) == "refused", path
    page.evaluate(TRY, [f"{dashboard.url}/gradio_api/queue/join", {**A_CLICK, "mode": "no-cors"}])
    page.evaluate("address => { document.body.innerHTML = `<iframe src='${address}'></iframe>` }", dashboard.url)
    page.wait_for_function("document.querySelector('iframe').contentDocument === null")
    ours = {key: status for key, status in answers.items() if dashboard.url in key}
    assert ours and set(ours.values()) == {403}, ours
    page.evaluate("address => { document.body.innerHTML = `<a href='${address}'>look</a>` }", f"{dashboard.url}/runs")
    page.click("a")
    expect(page.get_by_role("link", name="Compare", exact=True).first).to_be_visible()
