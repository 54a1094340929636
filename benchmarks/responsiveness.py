"""How fast a click is answered with 1,000 runs in the table and 100,000 logged points in one, in a real browser.

    python benchmarks/responsiveness.py        # needs Chromium; a minute

A workspace is filled with runs as training leaves them (spec, status, events), a real dashboard started on it, and rows
of the Runs table and the kind of the loss are clicked. A click is answered when the page shows it: two animation frames
after how the run stands, or the plot, has changed; the curves of a run follow and are timed too, from the same click.
Also counted: what the page is sent while nothing changes.
Writes results/responsiveness.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from kdengine.jobs import JobStore, stop_supervisor
from kdengine.machine.processor import processor
from kdengine.runner import create
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

RESULTS = Path(__file__).parent / "results"
RUNS, POINTS, CLICKS, PORT = 1000, 100_000, 15, 7979
TOKEN = secrets.token_urlsafe()
IDLE_S = 20
PATIENCE_S = 30
PAUSE_MS = 600  # between clicks: the page has drawn everything
A_ROW, LONG, KIND, SORT, TICK = (
    "a row of 1,000", "the run of 100,000 points", "weighted or raw", "a column, to sort by it", "tick all",
)  # fmt: skip


def fill(workspace: Workspace) -> list[str]:
    """1,000 finished runs, the last of them with 100,000 logged steps; their ids."""
    generator = random.Random(0)
    found = []
    for number in range(RUNS):
        method = ("kd", "dkd", "dist")[number % 3]
        spec = ExperimentSpec.from_mapping(
            {"data": "digits", "teacher": "resnet8x4", "student": "resnet20", "method": method, "seed": number}
        )
        run = create(spec, workspace, f"run-{number:04d}")
        epochs, points = (240, POINTS) if number == RUNS - 1 else (12, 120)
        terms = {name: {"raw": 1.0, "weighted": 0.5} for name in ("ce", "soft")}
        lines = [
            json.dumps({"time": 1.0, "kind": "step", "attempt": 1, "step": step, "epoch": 1, "loss": 1 / (step + 1),
                        "terms": terms, "lr": 0.1, "images_per_s": 500.0})
            for step in range(points)
        ]  # fmt: skip
        for epoch in range(1, epochs + 1):
            validation = {"accuracy": epoch / (epochs + 5), "top5": 1.0, "loss": 1.0, "ece": 0.1}
            lines.append(
                json.dumps({"time": 1.0, "kind": "epoch", "attempt": 1, "epoch": epoch, "loss": 1.0, "terms": terms,
                            "validation": validation, "lr": 0.1, "images_per_s": 500.0, "best": True})
            )  # fmt: skip
        run.events_file.write_text("\n".join(lines) + "\n")
        accuracy = generator.random()
        run.update_status(
            state=State.FINISHED, phase="done", best={"accuracy": accuracy, "epoch": epochs},
            test={"best": {"accuracy": accuracy}, "last": {"accuracy": accuracy}}, ended=time.time(),
        )  # fmt: skip
        found.append(run.id)
    return found


def answered(page: Page, act: str, *done: str) -> list[float]:
    """Milliseconds from an action in the page to two frames after each condition holds, one after the other."""
    found: list[float] = page.evaluate(
        f"""async () => {{
          const began = performance.now(), found = [];
          ({act})();
          for (const done of [{", ".join(done)}]) {{
            while (!done()) {{
              if (performance.now() - began > {1000 * PATIENCE_S}) throw new Error('not answered: ' + done);
              await new Promise(requestAnimationFrame);
            }}
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            found.push(performance.now() - began);
          }}
          return found;
        }}"""
    )
    return found


def measure(page: Page, url: str, runs: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each kind of click."""
    page.goto(f"{url}/runs")
    page.wait_for_selector(f"tr[data-run='{runs[-1]}']", timeout=120_000)
    found: dict[str, list[float]] = {
        name: [] for name in (A_ROW, f"{A_ROW}: its curves", LONG, f"{LONG}: its curves", KIND, SORT, TICK)
    }
    for number in range(CLICKS):
        for kind, run in ((A_ROW, runs[-2 - number]), (LONG, runs[-1])):  # the newest stand on top
            act = f"() => document.querySelector(\"tr[data-run='{run}']\").click()"
            standing = f"() => document.querySelector('#run-state').textContent.includes('{run}')"
            plot = "document.querySelector('#run-curves .js-plotly-plot')"
            curves = f"() => String({plot}?._fullLayout?.uirevision).includes('{run}')"
            for name, value in zip((kind, f"{kind}: its curves"), answered(page, act, standing, curves), strict=True):
                found[name].append(value)
            page.wait_for_timeout(PAUSE_MS)
        wanted = "raw" if number % 2 == 0 else "weighted"
        act = f"() => document.querySelector(\"#loss-kind input[value='{wanted}']\").click()"
        done = f"() => document.querySelector('#run-curves').textContent.includes('loss ({wanted})')"
        found[KIND] += answered(page, act, done)
        page.wait_for_timeout(PAUSE_MS)
        sort = "document.querySelector('#runs-table [data-sort=best]')"
        for _ in ("down", "up", "as it was"):
            before = page.evaluate(f"{sort}.textContent")
            done = f"() => {sort}.textContent !== {json.dumps(before)}"
            found[SORT] += answered(page, f"() => {sort}.click()", done)
        count = "document.querySelector('#ticked-count').textContent"
        before = page.evaluate(count)
        done = f"() => {count} !== {json.dumps(before)}"
        found[TICK] += answered(page, "() => document.querySelector('.kd-tick-all').click()", done)
        page.wait_for_timeout(PAUSE_MS)
    return found


def idle_bytes(page: Page) -> int:
    """Bytes of answers that hold data while nothing changes."""
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(int(response.headers.get("content-length") or 0)))
    page.wait_for_timeout(1000 * IDLE_S)
    return sum(sizes)


def main() -> None:
    """Fills, starts, clicks, writes."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    home = Path(tempfile.mkdtemp(prefix="kd-responsive-"))
    workspace = Workspace(home)
    runs = fill(workspace)
    url = f"http://127.0.0.1:{PORT}"
    server = subprocess.Popen(
        [sys.executable, "-m", "kdengine", "ui", "--port", str(PORT)],
        env=os.environ | {"KD_HOME": str(home), "KD_TOKEN": TOKEN},
    )
    try:
        while len(JobStore(workspace).jobs()) < RUNS or not _is_up(url):
            if server.poll() is not None:
                raise SystemExit("the dashboard has ended; what it said stands above")
            time.sleep(0.5)
        with sync_playwright() as playwright:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{url}/?token={TOKEN}")
            found = measure(page, url, runs)
            sent = idle_bytes(page)
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        stop_supervisor(workspace)
        shutil.rmtree(home, ignore_errors=True)
    write(found, sent)


def _is_up(url: str) -> bool:
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def write(found: dict[str, list[float]], sent: int) -> None:
    """JSON and table."""
    result: dict[str, Any] = {
        "command": "python benchmarks/responsiveness.py",
        "processor": processor().name,
        "milliseconds": found,
        "idle_bytes": sent,
    }
    rows = [
        f"| {kind} | {len(values)} | {statistics.median(values):.0f} | {max(values):.0f} |"
        for kind, values in found.items()
    ]
    lines = [
        "# How fast a click is answered", "",
        f"`{result['command']}`, {os.cpu_count()} cores of {result['processor']}, page server and browser on the same; "
        f"{RUNS} runs in the table, {POINTS:,} logged points in one of them.", "",
        "| click on | n | median (ms) | slowest (ms) |", "| --- | ---: | ---: | ---: |", *rows, "",
        f"Sent by the server in {IDLE_S} s in which nothing changed, beside empty answers to polls: {sent:,} bytes.",
    ]  # fmt: skip
    (RESULTS / "responsiveness.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "responsiveness.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
