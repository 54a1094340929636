"""The numbers of a suite in a file, and the tables that people read."""

from __future__ import annotations

import json
from pathlib import Path

from kdengine.bench import report
from side_by_side.goals import HEAD, Part, goals

RESULTS = Path(__file__).parents[1] / "results"
SLOWED = "No shares of the roofline: other programs slowed the ceilings more than the arms."


def write(suite: str, parts: list[Part]) -> None:
    """JSON with every number, and the tables."""
    RESULTS.mkdir(exist_ok=True)
    results_of(suite).write_text(json.dumps({"parts": parts}, indent=1) + "\n")
    lines = [
        f"# Speed side by side ({suite})",
        "",
        "Ratios are how many times as fast as the first arm, within each round: median [lowest-highest]. Where other "
        "programs were at work, CPU time is the clock to trust. Shares of roofline and peak count every convolution as "
        "multiplied directly; a teacher that takes fewer products can pass 100 %.",
        "",
    ]
    for part in parts:
        lines += [f"## {part['pair']}", "", measured_on(part["measured"]), ""]
        arms = part["arms"]
        # Only our teacher takes fewer products than are counted.
        others = [row.get("roofline_share") or 0 for row in arms if not row["arm"].startswith("engine")]
        slowed = max(others, default=0) > 1
        if "roofline_share" in arms[0] and not slowed:
            lines += [report.markdown((*report.HEAD, *report.SHARES), report.cells_with_shares(arms)), ""]
        else:
            lines += [report.markdown(report.HEAD, report.cells(arms)), ""]
        lines += [replay_line(part["replay"]), ""] if "replay" in part else []
        lines += (
            ["No shares of the roofline: other programs slowed the ceilings more than the arms.", ""] if slowed else []
        )
    lines += ["## What was wanted", "", report.markdown(HEAD, goals(suite, parts))]
    results_of(suite).with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")


def measured_on(measured: Part) -> str:
    """The command, machine and ceilings of a part, in a sentence; parts may stem from different runs."""
    return (
        f"`{measured['command']}` on {measured['machine']}, {measured['threads']} threads, torch {measured['torch']}; "
        f"load average {measured['load'][0]:.1f} before and {measured['load'][1]:.1f} after. Ceilings measured in the "
        f"same run: {measured['gflops']:,.0f} GFLOP/s, {measured['gbytes']:,.1f} GB/s."
    )


def results_of(suite: str) -> Path:
    """The file of a suite's numbers."""
    return RESULTS / f"speed_{suite}.json"


def earlier_parts(suite: str) -> list[Part]:
    """What the last run of a suite has written; none where it was never run."""
    if not results_of(suite).is_file():
        return []
    return json.loads(results_of(suite).read_text())["parts"]  # type: ignore[no-any-return]


def replay_line(replay: Part) -> str:
    """What replay gains and costs, in a sentence."""
    return (
        f"Replay: a step that reads the teacher's answers is {replay['live_over_replayed']} times as fast as one that "
        f"asks it, a step that stores them costs {replay['filling_over_live']} of one; paid for after "
        f"{replay['runs_to_break_even']} runs."
    )
