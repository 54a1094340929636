"""MLflow's own page under ``/mlflow``: its server listens on a socket that only this user reaches; we hand on."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.server import mlflow_server
from app.server.notices import respond
from app.server.security import Receive, Scope, Send
from kdengine import tracking
from kdengine.errors import BadInput, Problem
from kdengine.workspace import Workspace

MAX_SOCKET_PATH = 100
# What concerns one connection and not what it carries, and what is between the visitor and us alone.
OURS = {
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"),
    *("host", "origin", "cookie", "set-cookie", "authorization", "server", "date"),
}


class MlflowPage:
    """An ASGI application that passes requests on to MLflow's server, and that server's life.

    Attributes:
        path: where our server shows it.

    Args:
        workspace: whose runs are shown.
        folder: where the server's socket lies; only this user can enter it.

    Raises:
        BadInput: the folder's path is too long for a socket, or the runs are on a server that has its own page.
    """

    path = "/mlflow"

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self._workspace = workspace
        self._socket = folder / "mlflow.sock"
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            raise BadInput(Problem("TMPDIR", f"{folder} is too long a path for MLflow's socket; set a shorter one"))
        self._uri = tracking.tracking_uri(workspace)
        if self._uri.startswith(("http://", "https://")):
            raise BadInput(Problem("--mlflow", "MLFLOW_TRACKING_URI names a server, which has a page of its own"))
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self._socket)), timeout=None, trust_env=False
        )
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts MLflow's server, unless all is over already; its database must be there. What it says is kept."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--static-prefix", self.path,
            # Every worker would keep an address of TCP too, were it not for the socket.
            "--uvicorn-opts", f"--uds {shlex.quote(str(self._socket))}",
            "--backend-store-uri", self._uri,
            "--artifacts-destination", self._workspace.mlflow_artifacts.as_uri(),
            "--allowed-hosts", "localhost",
        ]  # fmt: skip
        environment = os.environ | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with self._lock, (self._workspace.root / "mlflow.log").open("ab") as output:
            if self._closed:
                return
            self._process = subprocess.Popen(
                [sys.executable, mlflow_server.__file__, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """Ends MLflow's server."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()
                self._process.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            response = await self._respond(Request(scope, receive))
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            theirs = await self._client.send(_handed_on(request), stream=True)
        except httpx.TransportError:
            return self._silent(request)
        response = StreamingResponse(_chunks(theirs), theirs.status_code)
        response.raw_headers = [
            (name.lower(), _without_place(value) if name.lower() == b"location" else value)
            for name, value in theirs.headers.raw
            if name.lower().decode("latin-1") not in OURS
        ]
        return response

    def _silent(self, request: Request) -> Response:
        ended = self._process is not None and self._process.poll() is not None
        if ended:
            sentence = f"MLflow's server has ended; {self._workspace.root / 'mlflow.log'} says why."
            return respond(request, "MLflow has ended", sentence, 502)
        sentence = "MLflow is starting. It opens here by itself, in some seconds as a rule."
        return respond(request, "MLflow is starting", sentence, 503, headers={"Retry-After": "1"}, again=True)


def _handed_on(request: Request) -> httpx.Request:
    """The visitor's request, as MLflow gets it."""
    path = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    query = request.scope["query_string"]
    url = httpx.URL("http://localhost").copy_with(raw_path=path + (b"?" + query if query else b""))
    headers = [(name, value) for name, value in request.headers.items() if name not in OURS]
    has_body = {"content-length", "transfer-encoding"} & set(request.headers)
    return httpx.Request(request.method, url, headers=headers, content=request.stream() if has_body else None)


async def _chunks(theirs: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in theirs.aiter_raw():
            yield chunk
    finally:
        await theirs.aclose()


def _without_place(location: bytes) -> bytes:
    """Where a redirection leads, as a path: MLflow does not know under which name it is visited."""
    return location.removeprefix(b"http://localhost")
