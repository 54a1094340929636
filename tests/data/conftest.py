"""A server on the loopback that can misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from archives import LoopbackServer

import kdengine.data.sources.download


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    state = LoopbackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            asked = self.headers.get("Range", "")
            state.requests.append((name, asked))
            if name not in state.contents:
                self.send_error(404)
                return
            content = state.contents[name]
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and state.ranges_supported else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            body = content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = state.drop_after.pop(0) if state.drop_after else len(body)
            self.wfile.write(body[:cut])

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setenv("KD_DATA_URL", state.url)
    monkeypatch.setattr(kdengine.data.sources.download, "PAUSE_SECONDS", 0.0)
    yield state
    http.shutdown()
    thread.join()
    http.server_close()
