"""``kd ui``: the page server. It can die and come back at any time; queue and runs live in processes of their own."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kdengine.errors import BadInput, KdError, Problem
from kdengine.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.worker import Worker, Workers

DEFAULT_PORT = 7860
LATER_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd ui``."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; other than loopback only with KD_PASSWORD set"
    )
    parser.add_argument("--port", type=int, default=None, help=f"port (default {DEFAULT_PORT}, or the next free one)")
    parser.add_argument("--mlflow", action="store_true", help="also start MLflow's own page, on loopback")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def main(options: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    from app import security

    password = security.password_for(options.host)
    port = _free_port(options.host, options.port)
    workspace = Workspace()
    workspace.check_writable()
    mlflow, mlflow_url = _start_mlflow(workspace) if options.mlflow else (None, None)
    try:
        _serve(workspace, options.host, port, password, mlflow_url, options.open)
    finally:
        if mlflow is not None:
            mlflow.terminate()
    return 0


def prepare_process() -> None:
    """Environment and working folder of a page server and of its workers; to be called before either is made."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for variable in ("GRADIO_SHARE", "GRADIO_VIBE_MODE", "GRADIO_MCP_SERVER", "GRADIO_ALLOWED_PATHS"):
        os.environ.pop(variable, None)
    # The workers share the cores with a run as a rule: threads that spin while they wait slow both many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _stand_in_an_empty_folder()


def make_app(
    workspace: Workspace,
    workers: Workers,
    host: str,
    password: str | None,
    mlflow_url: str | None = None,
) -> FastAPI:
    """The web application, in a process that was prepared. The caller closes the workers at the end."""
    from app import stubs

    stubs.leave_out()
    import gradio as gr
    from fastapi import FastAPI

    from app import security
    from app.site import build
    from app.theme import css, theme

    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    security.protect(web, host)
    gr.mount_gradio_app(
        web,
        build(workspace, workers, mlflow_url),
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        auth=security.checker(password) if password else None,
        auth_message=f"User name: {security.USER}" if password else None,
        allowed_paths=[],
        blocked_paths=[str(workspace.root)],
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        show_error=False,
        max_file_size="2gb",
        ssr_mode=False,
        enable_monitoring=False,
        theme=theme(),
        css=css(),
    )
    return web


def _serve(
    workspace: Workspace, host: str, port: int, password: str | None, mlflow_url: str | None, show: bool
) -> None:
    import uvicorn

    from app.door import Door
    from app.worker import Worker, Workers
    from kdengine.jobs import Keeper, ensure_supervisor

    prepare_process()
    workers = Workers.of(str(workspace.root))
    helper = Worker(str(workspace.root))
    keeper = Keeper(workspace)

    def make() -> FastAPI:
        # What the first page asks for starts beside the page's own imports; the rest would only take their cores.
        _in_background(workers.measuring.warm)
        with ThreadPoolExecutor(1) as beside:
            supervisor = beside.submit(ensure_supervisor, workspace)
            web = make_app(workspace, workers, host, password, mlflow_url)
            supervisor.result()
        keeper.start()
        if not server.should_exit:
            _in_background(lambda: _warm_in_turn(workers))
            _in_background(_import_later)
            if mlflow_url is None:
                _in_background(lambda: _prepare_tracking(helper))
        return web

    def give_up() -> None:
        server.should_exit = True

    door = Door(make, on_failure=give_up)
    server = uvicorn.Server(
        uvicorn.Config(door, host=host, port=port, log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
    )
    # uvicorn ends in order and then lets the signal do what it did before: end the process on the spot.
    signal.signal(signal.SIGTERM, _leave)
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
    sys.stderr.write(f"kd: the dashboard is at {address} (workspace {workspace.root}); Ctrl-C ends it, runs go on\n")
    sys.stderr.flush()
    if show:
        import webbrowser

        threading.Timer(1.0, webbrowser.open, (address,)).start()
    try:
        server.run()
    finally:
        keeper.stop()
        workers.close()
        helper.close()
    if door.failure is not None:
        raise door.failure


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _in_background(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _warm_in_turn(workers: Workers) -> None:
    """What a click begins comes first; both at once would take the cores from the first page."""
    workers.acting.warm()
    workers.looking.warm()


def _import_later() -> None:
    """What Studies and Inspect import at their first visit, seconds on a small machine: done before anybody waits."""
    time.sleep(LATER_S)
    for name in ("studies.control", "kdengine.figures.inspection"):
        importlib.import_module(name)


def _prepare_tracking(worker: Worker) -> None:
    """MLflow's database, in a process that ends with it: the import alone takes seconds and much memory."""
    with contextlib.suppress(KdError):
        worker.call("prepare_tracking")
    worker.close()


def _start_mlflow(workspace: Workspace) -> tuple[subprocess.Popen[bytes], str]:
    """MLflow's own server on a free loopback port, as a child."""
    from app.worker import Worker
    from kdengine import tracking

    _prepare_tracking(Worker(str(workspace.root)))
    port = _free_port("127.0.0.1", None, first=5000)
    address = f"127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", tracking.tracking_uri(workspace),
        "--artifacts-destination", workspace.mlflow_artifacts.as_uri(),
        "--allowed-hosts", f"{address},localhost:{port}", "--cors-allowed-origins", f"http://{address}",
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    with (workspace.root / "mlflow.log").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    return process, f"http://{address}"


def _free_port(host: str, wanted: int | None, first: int = DEFAULT_PORT) -> int:
    """``wanted`` if it is free, else BadInput; without a wish the next free port from ``first`` on."""
    for port in [wanted] if wanted else range(first, first + 50):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if wanted:
                    raise BadInput(Problem("--port", f"cannot listen on {host}:{port}: {error.strerror}")) from error
                continue
            return port
    raise BadInput(Problem("--port", f"no free port from {first} on"))


def _stand_in_an_empty_folder() -> None:
    """Gradio may hand out any file below the working folder or a temporary one: stand where there is nothing.

    What is made for downloads and uploads lies in this folder too, and goes with the server.
    """
    private = Path(tempfile.mkdtemp(prefix="kd-ui-"))
    private.chmod(0o700)
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    tempfile.tempdir = str(private)
    os.environ.setdefault("GRADIO_TEMP_DIR", str(private / "gradio"))
    empty = private / "empty"
    empty.mkdir()
    os.chdir(empty)
