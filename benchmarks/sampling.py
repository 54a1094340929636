"""What the looks at GPU, CPU, memory and disk cost a run: CPU time and duration of one, against the pause between two.

    python benchmarks/sampling.py

A look visits all processes of the machine to find the run's own, so it costs more where there are many: measured with
children that sleep. Each look is written into a run's events, as in training. Writes results/sampling.json and .md.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from kdengine.machine.nvml import NVML
from kdengine.machine.sampling import EVERY_S, KIND, Sampler
from kdengine.workspace.rundir import RunDirectory

RESULTS = Path(__file__).parent / "results"
LOOKS = 200
CHILDREN = (0, 4, 100)
WANTED = 0.01


def main() -> None:
    """Measures and writes the results."""
    rows = [measure(children) for children in CHILDREN]
    content = {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": [gpu.name for gpu in NVML.inventory().gpus],
        "load": round(psutil.getloadavg()[0], 1),
        "looks": LOOKS,
        "every_s": EVERY_S,
        "rows": rows,
    }
    (RESULTS / "sampling.json").write_text(json.dumps(content, indent=2) + "\n")
    (RESULTS / "sampling.md").write_text(table(content))
    print(table(content))


def measure(children: int) -> dict[str, float]:
    """Cost of one look, written down, of a run with that many processes of its own."""
    sleepers = [subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) for _ in range(children)]
    try:
        time.sleep(1)
        with tempfile.TemporaryDirectory() as place:
            run = RunDirectory(Path(place) / "runs" / "measured")
            run.create("method: none\n", "kd train")
            sampler = Sampler(run.path)
            sampler.follow(0)
            sampler.look()
            walls, began = [], time.process_time()
            for _ in range(LOOKS):
                start = time.perf_counter()
                run.append_event({"kind": KIND} | sampler.look())
                walls.append(time.perf_counter() - start)
            cpu = (time.process_time() - began) / LOOKS
            size = run.events_file.stat().st_size / LOOKS
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
    return {
        "children": children,
        "processes": len(psutil.pids()) + children,
        "cpu_ms": 1000 * cpu,
        "median_ms": 1000 * statistics.median(walls),
        "longest_ms": 1000 * max(walls),
        "share_of_a_core": cpu / EVERY_S,
        "bytes": size,
    }


def table(content: dict) -> str:
    """The results as Markdown."""
    seen = ", ".join(content["gpus"]) or "no GPU"
    worst = max(row["share_of_a_core"] for row in content["rows"])
    lines = [
        "# What it costs to look at the machine while training",
        "",
        f"`python benchmarks/sampling.py`: {content['looks']} looks each, {content['cores']} cores, {seen}, Python "
        f"{content['python']}. In a run there is one look every {content['every_s']:g} s, later fewer. "
        f"Other work kept {content['load']} cores busy meanwhile.",
        "",
        "| processes of the run | of the machine | CPU time | median | longest | share of a core | an event |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| 1 + {row['children']} | {row['processes']} | {row['cpu_ms']:.2f} ms | {row['median_ms']:.2f} ms | "
        f"{row['longest_ms']:.1f} ms | {100 * row['share_of_a_core']:.3f} % | {row['bytes']:.0f} bytes |"
        for row in content["rows"]
    ]
    verdict = "kept" if worst < WANTED else "NOT kept"
    lines += ["", f"Wanted: below {100 * WANTED:g} % of one core; {verdict}, at most {100 * worst:.2f} %.", ""]
    if not content["gpus"]:
        lines += ["NVML's questions to a GPU are not in these numbers: there was none.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
