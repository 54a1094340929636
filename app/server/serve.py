"""``kd ui``: the page server. It can die and come back at any time; queue and runs live in processes of their own."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kdengine.errors import BadInput, KdError, Problem, every
from kdengine.starting import importing
from kdengine.workspace import Workspace

if TYPE_CHECKING:
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from app.server.door import Door
    from app.server.gate import Entrance
    from app.server.mlflow_page import MlflowPage
    from app.worker import Worker, Workers
    from kdengine.workspace.dashboards import Record

DEFAULT_PORT = 7860
LATER_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd ui``."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; other than loopback only with KD_PASSWORD set"
    )
    parser.add_argument("--port", type=int, default=None, help=f"port (default {DEFAULT_PORT}, or the next free one)")
    parser.add_argument("--mlflow", action="store_true", help="also show MLflow's own page, under /mlflow")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--list", action="store_true", help="print the addresses of your running dashboards and exit")
    parser.add_argument(
        "--proxy",
        metavar="ADDRESS",
        help="reverse proxy whose X-Forwarded headers are trusted: address or network, several separated by commas "
        "(default: $KD_PROXY, else none)",
    )


def main(options: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    from app.server import security
    from kdengine.workspace.dashboards import Record

    workspace = Workspace()
    if options.list:
        return _list(workspace)
    checks: list[Callable[[], Any]] = [
        lambda: security.password_for(options.host),
        security.given_token,
        lambda: security.proxies_of(options.proxy),
        lambda: _free_port(options.host, options.port),
        workspace.check_writable,
    ]
    password, token, proxies, port, _ = every(checks)
    private = prepare_process()
    mlflow = _mlflow_page(workspace, private) if options.mlflow else None
    record = Record(workspace, port)
    entrance = _entrance(record, options.host, port, token, password)
    # Of no use to supervisor and trainers, which would hand them on.
    for secret in ("KD_PASSWORD", "KD_TOKEN"):
        os.environ.pop(secret, None)
    try:
        _serve(workspace, options.host, port, entrance, proxies, mlflow, record if options.open else None)
    finally:
        record.remove()
        if mlflow is not None:
            mlflow.close()
    return 0


def _mlflow_page(workspace: Workspace, folder: Path) -> MlflowPage:
    from app.server.mlflow_page import MlflowPage

    return MlflowPage(workspace, folder)


def _list(workspace: Workspace) -> int:
    """Prints where the dashboards of this workspace are."""
    from kdengine.workspace.dashboards import at_work

    found = at_work(workspace)
    for one in found:
        sys.stdout.write(f"{one['address']}\n")
    if not found:
        sys.stderr.write(f"kd: none of your dashboards runs on the workspace {workspace.root}\n")
    return 0


def _entrance(record: Record, host: str, port: int, token: str | None, password: str | None) -> Entrance:
    """What lets in. After a killed server of this port it is the same as before, and so its open pages go on."""
    from app.server.gate import Entrance

    before = record.read()
    if token is None and password is None:
        token = before.get("token") or secrets.token_urlsafe(32)
    secret = before.get("secret") or secrets.token_urlsafe(32)
    place = f"http://{_reachable(host)}:{port}"
    address = f"{place}/?token={token}" if token else place

    def keep(ended: dict[str, float]) -> None:
        record.write(port=port, url=place, address=address, token=token, secret=secret, ended=ended)

    ended = before.get("ended") or {}
    keep(ended)
    return Entrance.of(secret, token, password, ended, keep)


def _reachable(host: str) -> str:
    """An address that listens, as a browser of this machine reaches it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{name}]" if ":" in name else name


def prepare_process() -> Path:
    """Environment and working folder of a page server and of its workers; to be called before either is made.

    Returns the folder for what lives as long as the process; nobody else can enter it.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for variable in ("GRADIO_SHARE", "GRADIO_VIBE_MODE", "GRADIO_MCP_SERVER", "GRADIO_ALLOWED_PATHS"):
        os.environ.pop(variable, None)
    # The workers share the cores with a run as a rule: threads that spin while they wait slow both many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return _stand_in_an_empty_folder()


@importing()
def make_app(
    workspace: Workspace,
    workers: Workers,
    host: str,
    entrance: Entrance,
    proxies: Sequence[str] = (),
    mlflow: MlflowPage | None = None,
) -> FastAPI:
    """The web application, in a process that was prepared. The caller closes the workers at the end.

    Args:
        workspace: whose runs are shown and launched.
        workers: the processes that compute for the pages.
        host: address that is listened on.
        entrance: what lets a visitor in.
        proxies: addresses of reverse proxies whose word is believed.
        mlflow: MLflow's own page, where it is shown too.
    """
    from app.server import stubs

    stubs.leave_out()  # before the first import of Gradio
    from fastapi import FastAPI
    from starlette.responses import RedirectResponse

    from app import frame, theme
    from app.pages import site
    from app.server import machine
    from app.server.earlier_addresses import EarlierAddresses
    from app.server.first_paint import FirstPaint
    from app.server.gate import Gate
    from app.server.language import Languages
    from app.server.security import Outermost

    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # What is added last comes first.
    web.add_middleware(FirstPaint, titles=frame.titles(), script=theme.first_script())
    web.add_middleware(EarlierAddresses)
    web.add_middleware(Gate, entrance=entrance)
    web.add_middleware(Languages)
    web.add_middleware(Outermost, host=host, proxies=proxies)
    if mlflow is not None:
        web.add_route(mlflow.path, lambda request: RedirectResponse(f"{mlflow.path}/", 307))
        web.mount(mlflow.path, mlflow)
    web.add_route(machine.PATH, machine.responding(machine.Machine(workspace)))
    pages = site.build(workspace, workers, mlflow.path if mlflow is not None else None)
    _mount(web, pages, host, workspace)
    return web


def _mount(web: FastAPI, pages: gr.Blocks, host: str, workspace: Workspace) -> None:
    """Puts the pages at the root of the web application."""
    import gradio as gr

    from app.server.missing import page_for
    from app.theme import FAVICON, css, head, theme

    gr.mount_gradio_app(
        web,
        pages,
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=[str(workspace.root)],
        app_kwargs={
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "exception_handlers": {404: page_for(pages.pages)},
        },
        show_error=False,
        max_file_size="2gb",
        ssr_mode=False,
        enable_monitoring=False,
        theme=theme(),
        css=css(),
        head=head(),
        favicon_path=str(FAVICON),
    )


def _serve(
    workspace: Workspace,
    host: str,
    port: int,
    entrance: Entrance,
    proxies: Sequence[str],
    mlflow: MlflowPage | None,
    to_open: Record | None,
) -> None:
    from app.server.door import Door
    from app.worker import Worker, Workers
    from kdengine.jobs import Keeper, ensure_supervisor

    workers = Workers.of(str(workspace.root))
    helper = Worker(str(workspace.root))
    keeper = Keeper(workspace)

    def make() -> FastAPI:
        # What the first page needs starts beside the page's own imports; the rest would only take their cores.
        _in_background(workers.measuring.warm)
        with ThreadPoolExecutor(1) as beside:
            supervisor = beside.submit(ensure_supervisor, workspace)
            web = make_app(workspace, workers, host, entrance, proxies, mlflow)
            supervisor.result()
        keeper.start()
        if not server.should_exit:
            _in_background(lambda: _warm_in_turn(workers))
            _in_background(_import_later)
            _in_background(lambda: _prepare_mlflow(helper, mlflow))
        return web

    def give_up() -> None:
        server.should_exit = True

    door = Door(make, on_failure=give_up)
    server = _server(door, host, port)
    # uvicorn ends in order and then lets the signal do what it did before: end the process on the spot.
    signal.signal(signal.SIGTERM, _leave)
    _announce(f"http://{_reachable(host)}:{port}", workspace, entrance, mlflow, to_open)
    try:
        server.run()
    finally:
        keeper.stop()
        workers.close()
        helper.close()
    if door.failure is not None:
        raise door.failure


def _server(door: Door, host: str, port: int) -> uvicorn.Server:
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            door,
            host=host,
            port=port,
            log_level="warning",
            lifespan="on",
            timeout_graceful_shutdown=2,
            # Whose word is believed is ours to say, and not FORWARDED_ALLOW_IPS'.
            proxy_headers=False,
        )
    )


def _announce(
    place: str, workspace: Workspace, entrance: Entrance, mlflow: MlflowPage | None, to_open: Record | None
) -> None:
    """Says where the dashboard will be, and opens it in a browser soon with ``--open``."""
    address = f"{place}/?token={entrance.token}" if entrance.token else place
    sys.stderr.write(f"kd: the dashboard is at {address} (workspace {workspace.root}); Ctrl-C ends it, runs go on\n")
    if mlflow is not None:
        sys.stderr.write(f"kd: MLflow's page is at {place}{mlflow.path}/ once the dashboard has been opened\n")
    sys.stderr.flush()
    if to_open is not None:
        import webbrowser

        threading.Timer(1.0, webbrowser.open, (to_open.write_door(address).as_uri(),)).start()


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _in_background(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _warm_in_turn(workers: Workers) -> None:
    """What a click begins comes first; both at once would take the cores from the first page."""
    workers.acting.warm()
    workers.viewing.warm()


def _import_later() -> None:
    """What Studies and Inspect import at their first visit, seconds on a small machine: done before anybody waits."""
    time.sleep(LATER_S)
    for name in ("studies.actions", "kdengine.figures.inspection"):
        importlib.import_module(name)


def _prepare_mlflow(worker: Worker, mlflow: MlflowPage | None) -> None:
    """MLflow's database, in a process that ends with it: the import alone takes seconds and much memory. Then its page.

    In this order: both at once would race to create the database.
    """
    with contextlib.suppress(KdError):
        worker.call("prepare_tracking")
    worker.close()
    if mlflow is not None:
        mlflow.start()


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


def _stand_in_an_empty_folder() -> Path:
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
    return private
