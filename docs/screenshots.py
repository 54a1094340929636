"""Takes the images of the documentation: fills a workspace with small runs, opens its dashboard, looks at each page.

    python docs/screenshots.py FOLDER      # a workspace to fill, or one that was filled; half an hour at first

Writes docs/images/*.png and docs/images/tour.webp, the moving one of the README. Needs the ``dev`` extra and Chromium.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SIZE = {"width": 1360, "height": 860}
TOUR = {"width": 1120, "height": 700}
FRAME_MS = 1600

EXPERIMENT = ("--dataset", "digits", "--student", "resnet20")
RUNS: dict[str, tuple[str, ...]] = {
    "demo": ("--teacher", "resnet8x4", "--method", "kd"),
    "graph": ("--teacher", "resnet8x4", "--method", "grkd"),
    "attention": ("--method", "ama_self"),
    "exits": ("--method", "byot"),
}
COMPARE = ("compare", "methods", "--methods", "kd,at,rkd,byot", "--seeds", "5", *EXPERIMENT, "--teacher", "resnet8x4",
           "--epochs", "10", "--set", "data.per_class=20", "--set", "recipe.batch_size=32")  # fmt: skip
STUDY = ("study", "new", "temperature", "--ready", "kd", "--trials", "16")


def kd(home: Path, *words: str) -> None:
    """Runs a command in the workspace."""
    environment = os.environ | {"KD_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "kdengine", *words], env=environment, cwd=ROOT, check=True)


def fill(home: Path) -> None:
    """Trains what is not there yet."""
    for name, words in RUNS.items():
        if not (home / "runs" / name).exists():
            kd(home, "train", *EXPERIMENT, *words, "--run-id", name)
    if not (home / "comparisons" / "methods").exists():
        kd(home, *COMPARE)
    if not (home / "studies.db").exists():
        kd(home, *STUDY)


@contextmanager
def dashboard(home: Path) -> Iterator[str]:
    """A dashboard of the workspace; its address with the token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_urlsafe()
    environment = os.environ | {"KD_HOME": str(home), "KD_TOKEN": token}
    server = subprocess.Popen([sys.executable, "-m", "kdengine", "ui", "--port", str(port)], env=environment, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            request = urllib.request.Request(f"{address}/machine", headers={"Authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request, timeout=2):
                    break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/?token={token}"
    finally:
        server.terminate()
        server.wait()


STILLS: tuple[tuple[str, str, bool, Callable[[Page], None] | None], ...] = (
    ("begin", "/", False, None),
    ("launch", "/launch", False, None),
    ("runs", "/runs?run=demo", False, None),
    ("runs-dark", "/runs?run=demo", True, None),
    ("compare", "/compare?name=methods", False, None),
    ("studies", "/studies", False, None),
    ("inspect-maps", "/inspect?run=graph&what=gradcam", False, None),
    ("inspect-graph", "/inspect?run=graph&what=graph", False, None),
    ("demo", "/demo?run=demo", False, lambda page: page.locator("#demo-examples button").nth(3).click()),
)
"""File, address, whether dark, and what is clicked."""


def take(page: Page, address: str, settle_s: float, act: Callable[[Page], None] | None = None) -> bytes:
    """A page as it looks when everything has come."""
    page.goto(address)
    page.wait_for_selector(".kd-machine span")
    page.wait_for_timeout(1000 * settle_s)
    if act is not None:
        act(page)
        page.wait_for_timeout(1000 * settle_s)
    return page.screenshot()


def main(home: Path) -> None:
    """Fills, looks, writes."""
    fill(home)
    with dashboard(home) as entry, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        address = entry.split("/?")[0]
        for name, path, dark, act in STILLS:
            context = browser.new_context(viewport=SIZE, color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
            context.request.get(entry, max_redirects=0)
            _write(take(context.new_page(), address + path, 8, act), IMAGES / f"{name}.png")
            context.close()
        context = browser.new_context(viewport=TOUR)  # type: ignore[arg-type]
        context.request.get(entry, max_redirects=0)
        page = context.new_page()
        ways = [(path, act) for name, path, dark, act in STILLS if not dark]
        frames = [Image.open(io.BytesIO(take(page, address + path, 6, act))).convert("RGB") for path, act in ways]
        frames[0].save(
            IMAGES / "tour.webp", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=70
        )
        browser.close()


def _write(content: bytes, path: Path) -> None:
    """With a palette: a third of the bytes, and no difference that an eye sees."""
    Image.open(io.BytesIO(content)).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
