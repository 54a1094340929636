"""How long does a person wait for the first answer? ``kd --help``, the dashboard, a run's first step.

    python benchmarks/startup.py                # five rounds of all in turn, after one that does not count
    python benchmarks/startup.py --rounds 9 --beside "a training run on one core"

Wall time is from the start of the process, CPU time (user and system) is that of the process itself: on a machine that
does something else, look at CPU time. Writes results/startup.json (every round) and .md (medians, goals and verdicts).
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
from typing import Any, NamedTuple

import psutil

from kdengine.jobs import stop_supervisor
from kdengine.machine.processor import processor
from kdengine.processes import is_alive
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

RESULTS = Path(__file__).parent / "results"
LOOK_EVERY_S = 0.02
# After the page the dashboard prepares what is clicked next, on the same cores: a run is not launched in that moment.
SETTLED_S = 15.0
PATIENCE_S = 300.0
TOKEN = secrets.token_urlsafe()
TRAIN = "train --dataset digits --method none --set data.per_class=10 --epochs 1 --set runtime.log_every=1 --student "


class Moment(NamedTuple):
    """What is waited for, and within how many seconds of wall time it is meant to come (None: no goal)."""

    words: str
    goal_s: float | None = None


MOMENTS = {
    "help": Moment("`kd --help`, whole"),
    "first": Moment("`kd ui`, first answer (the page that says it is starting)"),
    "page": Moment("`kd ui`, the whole page", 4.0),
    "step": Moment("`kd train`, first step done, a network of ours (resnet8x4)", 3.0),
    "step_torchvision": Moment("`kd train`, first step done, a network on torchvision's body (mobilenetv3_small)", 3.0),
    "queued": Moment("a run from the queue, as the dashboard starts it, first step done (resnet8x4)", 3.0),
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
    """``kd ui`` without a supervisor before, until the first answer and until the page; then a run that is queued."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = Started(home, f"ui --port {port}")
    first = started.when(lambda: _code(port) > 0)
    page = started.when(lambda: _code(port) == 200)
    time.sleep(SETTLED_S)
    step = queued(home)
    started.end()
    stop_supervisor(Workspace(home))
    return {"first": first, "page": page, "queued": step}


def queued(home: Path) -> Seconds:
    """A run that the supervisor starts, from the start of its process until its first step is told."""
    known = runs(home)
    Started(home, f"{TRAIN} resnet8x4 --queue").process.wait(PATIENCE_S)
    (folder,) = runs(home) - known
    run, began = RunDirectory(folder), time.perf_counter()
    while not any(run.events("step")):
        if time.perf_counter() - began > PATIENCE_S or run.status().get("state") in ("failed", "lost"):
            raise SystemExit(f"{folder.name}, a queued run, took no step")
        time.sleep(LOOK_EVERY_S)
    pid = run.status()["process"]["pid"]
    cpu = psutil.Process(pid).cpu_times()
    found = {"wall_s": round(_age_s(pid), 3), "cpu_s": round(cpu.user + cpu.system, 3)}
    while is_alive(run.status()["process"]):  # not ours to wait for: the supervisor's child
        time.sleep(LOOK_EVERY_S)
    return found


def _age_s(pid: int) -> float:
    """Seconds since a process was started, from Linux's own clock: psutil's rests on a boot time in whole seconds."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def training(home: Path) -> dict[str, Seconds]:
    """``kd train`` until its first step is told, with a network of ours and with one on torchvision's body."""
    return {
        name: _until_first_step(home, student)
        for name, student in (("step", "resnet8x4"), ("step_torchvision", "mobilenetv3_small"))
    }


def _until_first_step(home: Path, student: str) -> Seconds:
    known = runs(home)
    started = Started(home, TRAIN + student)
    step = started.when(lambda: any(any(RunDirectory(run).events("step")) for run in runs(home) - known))
    started.process.wait(PATIENCE_S)
    return step


def runs(home: Path) -> set[Path]:
    """The folders of the runs that there are."""
    return set(home.glob("runs/*"))


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
    return {
        "processor": processor().name,
        "cores": len(psutil.Process().cpu_affinity()),
        "python": platform.python_version(),
        **versions,
    } | {"commit": commit}


def table(result: dict[str, Any]) -> str:
    """Medians over the rounds, with the range."""
    facts = result["machine"]
    loads = [load for one in result["rounds"] for load in one["load"]]
    lines = [
        "# How long a start takes", "", f"`{result['command']}`", "",
        f"{facts['processor']}, {facts['cores']} cores, "
        f"Python {facts['python']}, torch {facts['torch']}, Gradio {facts['gradio']}, "
        f"MLflow {facts['mlflow']}, commit {facts['commit']}; beside it ran: {result['beside']}; load average "
        f"(one minute) {min(loads):.1f} to {max(loads):.1f}, these processes counted.",
        f"Median of {len(result['rounds'])} rounds (least to most), in seconds from the start of the process; CPU is "
        "the process's own, workers and supervisor not counted.", "",
        "| until | CPU | wall | wanted (wall) | |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, moment in MOMENTS.items():
        cells = []
        for kind in ("cpu_s", "wall_s"):
            values = [one[name][kind] for one in result["rounds"]]
            cells.append(f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        wanted, verdict = "", ""
        if moment.goal_s is not None:
            met = statistics.median(one[name]["wall_s"] for one in result["rounds"]) <= moment.goal_s
            wanted, verdict = f"at most {moment.goal_s:g}", "pass" if met else "short"
        lines.append(f"| {' | '.join((moment.words, *cells, wanted, verdict))} |")
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
