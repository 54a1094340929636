"""The numbers of a suite in a file, and the tables that people read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdengine.bench import report
from side_by_side.goals import HEAD, goals

RESULTS = Path(__file__).parents[1] / "results"


def write(suite: str, parts: list[dict[str, Any]]) -> None:
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
        cells = report.cells(part["arms"])
        # Only our teacher takes fewer products than are counted.
        others = [row.get("roofline_share") or 0 for row in part["arms"] if not row["arm"].startswith("engine")]
        if "replay" in part and max(others) > 1:
            lines += [
                report.markdown(report.HEAD, cells), "", replay_line(part["replay"]), "",
                "No shares of the roofline: other programs slowed the ceilings more than the arms.", "",
            ]  # fmt: skip
        elif "replay" in part:
            cells = report.cells_with_shares(part["arms"])
            lines += [report.markdown((*report.HEAD, *report.SHARES), cells), "", replay_line(part["replay"]), ""]
        elif any("roofline_share" in row for row in part["arms"]):
            lines += [report.markdown((*report.HEAD, *report.SHARES), report.cells_with_shares(part["arms"])), ""]
        else:
            lines += [report.markdown(report.HEAD, cells), ""]
    lines += ["## What was wanted", "", report.markdown(HEAD, goals(suite, parts))]
    results_of(suite).with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")


def measured_on(measured: dict[str, Any]) -> str:
    """The command, machine and ceilings of a part, in a sentence; parts may stem from different runs."""
    return (
        f"`{measured['command']}` on {measured['machine']}, {measured['threads']} threads, torch {measured['torch']}; "
        f"load average {measured['load'][0]:.1f} before and {measured['load'][1]:.1f} after. Ceilings measured in the "
        f"same run: {measured['gflops']:,.0f} GFLOP/s, {measured['gbytes']:,.1f} GB/s."
    )


def results_of(suite: str) -> Path:
    """The file of a suite's numbers."""
    return RESULTS / f"speed_{suite}.json"


def earlier_parts(suite: str) -> list[dict[str, Any]]:
    """What the last run of a suite has written; none where it was never run."""
    if not results_of(suite).is_file():
        return []
    return json.loads(results_of(suite).read_text())["parts"]  # type: ignore[no-any-return]


def replay_line(replay: dict[str, Any]) -> str:
    """What replay gains and costs, in a sentence."""
    return (
        f"Replay: a step that reads the teacher's answers is {replay['live_over_replayed']} times as fast as one that "
        f"asks it, a step that stores them costs {replay['filling_over_live']} of one; paid for after "
        f"{replay['runs_to_break_even']} runs."
    )
