"""One file a machine, the worst machine beside the best, and a page whose numbers are those of the files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from side_by_side import goals, results, summary

PAIR = "resnet32x4 -> resnet8x4, 32 px, batches of 64"
PAGE = "# Title\n\nBefore.\n\n" + summary.BEGIN + "\nold\n" + summary.END + "\n\nAfter.\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(summary, "PAGE", tmp_path / "speed.md")
    summary.PAGE.write_text(PAGE)
    return tmp_path


def part(machine: str, pair: str = PAIR, **ratios: float) -> dict[str, Any]:
    arms = {goals.PLAIN: 1.0, goals.ENGINE: 1.3} | {getattr(goals, name): value for name, value in ratios.items()}
    rows = [
        {"arm": arm, "images_per_s": 20.0, "cpu_ratio": [value] * 3, "wall_ratio": [value * 2] * 3}
        for arm, value in arms.items()
    ]
    measured = {
        "command": "python benchmarks/speed.py --suite cpu", "machine": machine.upper(), "processor": machine,
        "threads": 1, "torch": "2.15.0", "commit": "abc1234", "date": "2026-11-26T12:00:00+00:00", "gflops": 285.0,
        "kernel": "3x3 convolution of 256 channels", "gbytes": 50.0, "load": [0.1, 1.2],
    }  # fmt: skip
    return {"pair": pair, "arms": rows, "measured": measured}


def lines(text: str, beginning: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(beginning)]


def test_a_machine_has_a_file_of_its_own(place: Path) -> None:
    results.write("cpu", "amd", [part("amd", ENGINE=1.1)])
    before = (place / "results/speed_cpu/amd.json").read_bytes()
    results.write("cpu", "intel", [part("intel", ENGINE=1.4)])
    assert (place / "results/speed_cpu/amd.json").read_bytes() == before
    assert [slug for slug in results.machines("cpu")] == ["amd", "intel"]
    told = (place / "results/speed_cpu/intel.md").read_text()
    assert "on INTEL, 1 thread, torch 2.15.0, 2026-11-26, commit abc1234; load average 0.1 before and 1.2" in told
    assert "285 GFLOP/s (3x3 convolution of 256 channels)" in told and "images/s" in told
    assert sorted(path.name for path in (place / "results/speed_cpu").iterdir()) == [
        "amd.json", "amd.md", "intel.json", "intel.md",
    ]  # fmt: skip


def test_numbers_of_another_machine_are_refused(place: Path) -> None:
    results.write("cpu", "amd", [part("amd"), part("intel", "another pair -> b, 32 px")])
    with pytest.raises(SystemExit, match=r"amd.json holds numbers of intel; expected those of amd alone"):
        results.earlier_parts("cpu", "amd")


def test_numbers_of_earlier_versions_stay_readable(place: Path) -> None:
    old = part("intel", CACHED=3.0, STORING=1.3, TIMM_COMPILED=1.2)
    names = {goals.CACHED: "engine, replayed", goals.STORING: "engine, filling",
             goals.TIMM_COMPILED: "timm's task compiled, our pictures"}  # fmt: skip
    for row in old["arms"]:
        row["arm"] = names.get(row["arm"], row["arm"])
    old["replay"] = {"filling_over_live": 1.0, "live_over_replayed": 2.3, "runs_to_break_even": None}
    for new in ("kernel", "date", "commit"):
        del old["measured"][new]
    old["measured"] |= {"date": "2026-11-22", "commit": "d83cc71", "known": "from the log"}
    results.write("cpu", "intel", [old])
    summary.write_tables("cpu")
    summary.write("cpu")
    told = (place / "results/speed_cpu/intel.md").read_text()
    assert "committed as d83cc71" in told and "(matrix product)" in told and "never paid for" in told
    assert not re.search("replayed|filling|pictures", told + summary.PAGE.read_text())
    assert (
        "| engine, cached teacher logits | 3.00 [3.00-3.00] | intel |" in (place / "results/speed_cpu.md").read_text()
    )


def test_worst_and_best_stand_beside_each_other(place: Path) -> None:
    # The middle one is measured last, and timm's task has its own order.
    results.write("cpu", "zen", [part("zen", ENGINE=1.1, TIMM_COMPILED=1.25)])
    results.write("cpu", "xeon", [part("xeon", ENGINE=1.5, TIMM_COMPILED=1.2)])
    results.write("cpu", "arm", [part("arm", ENGINE=1.3, TIMM_COMPILED=1.3)])
    summary.write("cpu")
    told = (place / "results/speed_cpu.md").read_text()
    assert lines(told, "| engine |") == ["| engine | 1.10 [1.10-1.10] | zen | 1.50 [1.50-1.50] | xeon |"]
    assert lines(told, "| timm's task compiled") == [
        "| timm's task compiled, our images | 1.20 [1.20-1.20] | xeon | 1.30 [1.30-1.30] | arm |"
    ]
    assert not lines(told, f"| {goals.PLAIN} |")
    judged = "resnet32x4 -> resnet8x4: engine over mdistiller's way | at least 1.2 | 1.30 pass | 1.50 pass | 1.10 short"
    assert judged in told and "| goal | wanted | arm | xeon | zen |" in told
    page = summary.PAGE.read_text()
    assert page.startswith("# Title\n\nBefore.") and page.endswith("After.\n") and "\nold\n" not in page
    worst, best = (line.split(" | ") for line in page.splitlines() if "worst: " in line or "best: " in line)
    assert worst[1] == "worst: zen" and worst[3:5] == ["1.25 [1.25-1.25]", "1.10 [1.10-1.10]"]
    assert best[1] == "best: xeon" and best[3:5] == ["1.20 [1.20-1.20]", "1.50 [1.50-1.50]"]
    assert "Short on zen: resnet32x4 -> resnet8x4: engine over mdistiller's way 1.10 (at least 1.2 wanted)" in page
    assert "(../../benchmarks/results/speed_cpu/arm.md)" in page


def test_one_machine_is_not_called_the_best(place: Path) -> None:
    results.write("cpu", "zen", [part("zen", BF16_TEACHER_COMPILED=2.5)])
    summary.write("cpu")
    page = summary.PAGE.read_text()
    assert "only: zen" in page and "best: " not in page and "2.50 [2.50-2.50], teacher alone" in page
    assert "| engine | 1.30 [1.30-1.30] | zen | – | – |" in (place / "results/speed_cpu.md").read_text()


def test_cards_are_compared_by_the_wall_clock_and_leave_the_page(place: Path) -> None:
    results.write("gpu", "nvidia-h200", [part("nvidia-h200", ENGINE=2.0)])
    summary.write("gpu")
    told = (place / "results/speed_gpu.md").read_text()
    assert "| engine | 4.00 [4.00-4.00] | nvidia-h200 |" in told and "(speed_gpu/nvidia-h200.md)" in told
    assert summary.PAGE.read_text() == PAGE


def test_a_page_without_a_place_is_refused(place: Path) -> None:
    results.write("cpu", "zen", [part("zen")])
    summary.PAGE.write_text("# Title\n")
    with pytest.raises(SystemExit, match=r"speed\.md has no place"):
        summary.write("cpu")
    assert summary.PAGE.read_text() == "# Title\n"


# What is committed.


@pytest.mark.parametrize("suite", summary.SUITES)
def test_committed_tables_are_those_of_the_committed_numbers(suite: str) -> None:
    machines = results.machines(suite)
    assert machines or suite == "gpu", "no numbers of any processor are committed"
    for slug, parts in machines.items():
        told = results.file_of(suite, slug).with_suffix(".md").read_text()
        assert told == results.table(suite, slug, parts), "run: python benchmarks/speed.py --summary"
    if machines:
        told = (results.RESULTS / f"speed_{suite}.md").read_text()
        assert told == summary.summary(suite, machines), "run: python benchmarks/speed.py --summary"


def test_the_numbers_of_the_page_are_those_of_the_committed_files() -> None:
    text = summary.PAGE.read_text()
    machines = results.machines("cpu")
    assert text == summary.with_block(text, summary.block(machines)), "run: python benchmarks/speed.py --summary"
    # Not by the same code: every ratio of the table stands in a committed file, on the machine that its row names.
    shown = text.partition(summary.BEGIN)[2].partition(summary.END)[0]
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith(("| resnet", "|  |"))]
    assert rows
    for row in rows:
        slug = row[1].partition(": ")[2]
        numbers = json.loads(results.file_of("cpu", slug).read_text())
        medians = {f"{sorted(arm['cpu_ratio'])[len(arm['cpu_ratio']) // 2]:.2f}"
                   for each in numbers["parts"] for arm in each["arms"]}  # fmt: skip
        assert {cell.split()[0] for cell in row[2:]} - {"–", "|"} <= medians
