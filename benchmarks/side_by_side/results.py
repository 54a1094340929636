"""The numbers of a suite on one machine in a file of its own, and the table that people read of it.

A file is named after the kind of processor, or the GPU, so that a run on another one never overwrites it.
"""

from __future__ import annotations

import json
from pathlib import Path

from kdengine.bench import report
from kdengine.workspace.files import atomic_path
from side_by_side.goals import CACHED, HEAD, STORING, TIMM, TIMM_COMPILED, Part, goals

RESULTS = Path(__file__).parents[1] / "results"
SLOWED = "No shares of the roofline: other programs slowed the ceilings more than the arms."
# Names of arms in files of earlier versions.
_RENAMED = {
    "engine, replayed": CACHED,
    "engine, filling": STORING,
    "timm's task, our pictures": TIMM,
    "timm's task compiled, our pictures": TIMM_COMPILED,
    "pictures": "images",
}


def folder_of(suite: str) -> Path:
    """Where the files of a suite are, one for each machine."""
    return RESULTS / f"speed_{suite}"


def file_of(suite: str, slug: str) -> Path:
    """The numbers of a suite on a machine."""
    return folder_of(suite) / f"{slug}.json"


def machines(suite: str) -> dict[str, list[Part]]:
    """All parts that were measured, by machine in the order of their names."""
    return {path.stem: earlier_parts(suite, path.stem) for path in sorted(folder_of(suite).glob("*.json"))}


def earlier_parts(suite: str, slug: str) -> list[Part]:
    """What was measured on a machine, arms under the names of today; none where the suite was never run.

    Raises:
        SystemExit: the file holds numbers of another machine.
    """
    path = file_of(suite, slug)
    if not path.is_file():
        return []
    parts: list[Part] = json.loads(path.read_text())["parts"]
    others = {part["measured"].get("processor", "a machine without a name") for part in parts} - {slug}
    if others:
        raise SystemExit(f"{path} holds numbers of {', '.join(sorted(others))}; expected those of {slug} alone")
    for part in parts:
        part["arms"] = [row | {"arm": _RENAMED.get(row["arm"], row["arm"])} for row in part["arms"]]
    return parts


def write(suite: str, slug: str, parts: list[Part]) -> None:
    """JSON with every number of a machine, and its table."""
    with atomic_path(file_of(suite, slug)) as path:
        path.write_text(json.dumps({"parts": parts}, indent=1) + "\n")
    write_table(suite, slug, parts)


def write_table(suite: str, slug: str, parts: list[Part]) -> None:
    """The table of a machine alone."""
    with atomic_path(file_of(suite, slug).with_suffix(".md")) as path:
        path.write_text(table(suite, slug, parts))


def table(suite: str, slug: str, parts: list[Part]) -> str:
    """What was measured on one machine, part by part, and what was wanted of it."""
    lines = [
        f"# Speed side by side ({suite}): {slug}",
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
        lines += [cached_line(part["replay"]), ""] if "replay" in part else []
        lines += [SLOWED, ""] if slowed else []
    lines += ["## What was wanted", "", report.markdown(HEAD, goals(suite, parts))]
    return "\n".join(lines).rstrip() + "\n"


def measured_on(measured: Part) -> str:
    """The command, machine, time and ceilings of a part, in two sentences; parts may stem from different runs."""
    threads = measured["threads"]
    # Of parts that were measured before these were written down, the kernel was the matrix product.
    kernel = measured.get("kernel", "matrix product")
    return (
        f"`{measured['command']}` on {measured['machine']}, {threads} thread{'s' if threads != 1 else ''}, "
        f"torch {measured['torch']}, {when(measured)}; load average {measured['load'][0]:.1f} before and "
        f"{measured['load'][1]:.1f} after. Ceilings measured in the same run: {measured['gflops']:,.0f} GFLOP/s "
        f"({kernel}), {measured['gbytes']:,.1f} GB/s."
    )


def when(measured: Part) -> str:
    """Day and commit of a part; of the first parts it is known alone which commit brought their numbers."""
    word = "committed as" if "known" in measured else "commit"
    return f"{str(measured['date'])[:10]}, {word} {measured['commit'] or 'unknown'}"


def cached_line(cached: Part) -> str:
    """What cached teacher logits gain and cost, in a sentence."""
    runs = cached["runs_to_break_even"]
    paid = f"paid for after {runs} runs" if runs is not None else "never paid for"
    return (
        f"Cached teacher logits: a step that reads them is {cached['live_over_replayed']} times as fast as one that "
        f"asks the teacher, a step that stores them costs {cached['filling_over_live']} of one; {paid}."
    )
