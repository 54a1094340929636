"""How long does a person wait for the first answer? ``kd --help``, the dashboard, a run's first step.

    python benchmarks/startup.py                # five rounds of all three in turn, after one that does not count
    python benchmarks/startup.py --rounds 9 --beside "a training run on one core"

Wall time is from the start of the process, CPU time (user and system) is that of the process itself: on a machine that
does something else, look at CPU time. Writes results/startup.json (every round) and .md (medians).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from kdengine.jobs import stop_supervisor
from kdengine.workspace import Workspace

RESULTS = Path(__file__).parent / "results"
LOOK_EVERY_S = 0.02
PATIENCE_S = 300.0
TOKEN = secrets.token_urlsafe()
TRAIN = (
    "train --dataset digits --student resnet8x4 --method none "
    "--set data.per_class=10 --set recipe.epochs=1 --set runtime.log_every=1"
)
MOMENTS = {
    "help": "`kd --help`, whole",
    "first": "`kd ui`, first answer (the page that says it is starting)",
    "page": "`kd ui`, the whole page",
    "step": "`kd train`, first step done",
}

Seconds = dict[str, float]


class Started:
    """A ``kd`` process, and the time since its start."""

    def __init__(self, home: Path, words: str) -> None:
        self.began = time.perf_counter()
        self.process = psutil.Popen(
            [sys.executable, "-m", "kdengine", *words.split()],
            env=os.environ | {"KD_HOME": str(home), "KD_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def when(self, condition: Callable[[], bool]) -> Seconds:
        """Waits until a condition holds; wall and CPU seconds of that moment."""
        while not condition():
            if self.process.poll() is not None or time.perf_counter() - self.began > PATIENCE_S:
                raise SystemExit(f"{' '.join(self.process.args)} ended, or took too long")
            time.sleep(LOOK_EVERY_S)
        wall, cpu = time.perf_counter() - self.began, self.process.cpu_times()
        return {"wall_s": round(wall, 3), "cpu_s": round(cpu.user + cpu.system, 3)}

    def end(self) -> None:
        """As with Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)


def help_page(home: Path) -> dict[str, Seconds]:
    """``kd --help`` until it has ended; os.wait4 tells its CPU time."""
    started = Started(home, "--help")
    _, _, usage = os.wait4(started.process.pid, 0)
    wall = time.perf_counter() - started.began
    return {"help": {"wall_s": round(wall, 3), "cpu_s": round(usage.ru_utime + usage.ru_stime, 3)}}


def dashboard(home: Path) -> dict[str, Seconds]:
    """``kd ui`` without a supervisor before, until the first answer and until the page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = Started(home, f"ui --port {port}")
    first = started.when(lambda: _code(port) > 0)
    page = started.when(lambda: _code(port) == 200)
    started.end()
    stop_supervisor(Workspace(home))
    return {"first": first, "page": page}


def training(home: Path) -> dict[str, Seconds]:
    """``kd train`` until its first step is told."""
    before = set(home.glob("runs/*"))
    started = Started(home, TRAIN)

    def stepped() -> bool:
        files = [run / "events.jsonl" for run in set(home.glob("runs/*")) - before]
        return any('"step"' in file.read_text() for file in files if file.is_file())

    step = started.when(stepped)
    started.process.wait(PATIENCE_S)
    return {"step": step}


def _code(port: int) -> int:
    """HTTP status of the front page, 0 while nobody answers."""
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def machine() -> dict[str, Any]:
    """What the times depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "gradio", "mlflow")}
    return {"cores": len(psutil.Process().cpu_affinity()), "python": platform.python_version(), **versions} | {
        "commit": commit
    }


def table(result: dict[str, Any]) -> str:
    """Medians over the rounds, with the range."""
    facts = result["machine"]
    loads = [load for one in result["rounds"] for load in one["load"]]
    lines = [
        "# How long a start takes", "", f"`{result['command']}`", "",
        f"{facts['cores']} cores, Python {facts['python']}, torch {facts['torch']}, Gradio {facts['gradio']}, "
        f"MLflow {facts['mlflow']}, commit {facts['commit']}; beside it ran: {result['beside']}; load average "
        f"(one minute) {min(loads):.1f} to {max(loads):.1f}, these processes counted.",
        f"Median of {len(result['rounds'])} rounds (least to most), in seconds from the start of the process; CPU is "
        "the process's own, workers and supervisor not counted.", "",
        "| until | CPU | wall |", "|---|---|---|",
    ]  # fmt: skip
    for moment, words in MOMENTS.items():
        cells = []
        for kind in ("cpu_s", "wall_s"):
            values = [one[moment][kind] for one in result["rounds"]]
            cells.append(f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures all in turn, round by round, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", default="nothing", help="what else runs on the machine, for the result")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="kd-startup-") as folder:
        # The first round decodes the digits, makes MLflow's database and fills the caches of Python and the disk.
        for number in range(options.rounds + 1):
            load = [os.getloadavg()[0]]
            one: dict[str, Any] = {}
            for measure in (help_page, training, dashboard):
                one |= measure(Path(folder))
            load.append(os.getloadavg()[0])
            print(f"round {number} of {options.rounds}:", one, flush=True)
            if number:
                rounds.append(one | {"load": load})
    command = f"python benchmarks/startup.py --rounds {options.rounds}"
    result = {"command": command, "machine": machine(), "beside": options.beside, "rounds": rounds}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "startup.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "startup.md").write_text(table(result))


if __name__ == "__main__":
    main()
