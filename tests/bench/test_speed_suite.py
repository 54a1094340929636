"""The command that measures: part by part into this machine's file, and on from where it was cut off."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import speed
import torch
from side_by_side import goals, machine, results, summary

from kdengine.bench.ceilings import Ceilings
from kdengine.machine.processor import named

NAMES = [f"{pair}, 32 px, batches of 64" for pair in ("a -> b", "c -> d", "e -> f")]
Fake = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Runs the command with parts that are only named, not timed; gives the names of those it measured."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(summary, "PAGE", tmp_path / "speed.md")
    summary.PAGE.write_text(f"{summary.BEGIN}\n{summary.END}\n")
    monkeypatch.setattr(speed, "ceilings", lambda device, dtype: Ceilings(2e11, 5e10, 4, "3x3 convolution"))
    threads = torch.get_num_threads()

    def run(*words: str, cpu: str = "Zen", dies_at: str = "", source: str = "one", engine: float = 1.3) -> list[str]:
        measured = []

        def measuring(name: str) -> dict[str, Any]:
            if name == dies_at:
                raise KeyboardInterrupt
            measured.append(name)
            ratios = {goals.PLAIN: 1.0, goals.ENGINE: engine}
            rows = [{"arm": arm, "images_per_s": 9.0, "cpu_ratio": [each], "wall_ratio": [each]}
                    for arm, each in ratios.items()]  # fmt: skip
            return {"pair": name, "arms": rows}

        planned = {name: lambda name=name: measuring(name) for name in NAMES}  # type: ignore[misc]
        monkeypatch.setattr(speed, "timings", lambda *_: planned)
        monkeypatch.setattr(machine, "processor", lambda: named(cpu))
        monkeypatch.setattr(machine, "source", lambda: source)
        monkeypatch.setattr(sys, "argv", ["speed.py", *words])
        try:
            speed.main()
        except KeyboardInterrupt:
            assert dies_at
        return measured

    yield run
    torch.set_num_threads(threads)


def parts_of(slug: str) -> dict[str, dict[str, Any]]:
    return {part["pair"]: part for part in json.loads(results.file_of("cpu", slug).read_text())["parts"]}


def test_a_run_cut_off_goes_on_where_it_ended(run: Fake) -> None:
    assert run("--suite", "cpu", dies_at=NAMES[1]) == NAMES[:1]
    assert list(parts_of("zen")) == NAMES[:1]
    assert run("--suite", "cpu", "--resume", dies_at=NAMES[2]) == NAMES[1:2]
    assert run("--suite", "cpu", "--resume") == NAMES[2:]
    assert list(parts_of("zen")) == NAMES and run("--suite", "cpu", "--resume") == []


@pytest.mark.parametrize(
    ("words", "changed"),
    [(["--rounds", "5"], {}), (["--steps", "3"], {}), (["--no-compile"], {}), ([], {"source": "two"})],
    ids=["rounds", "steps", "no compile", "code"],
)
def test_what_was_measured_in_another_way_is_measured_again(run: Fake, words: list[str], changed: dict) -> None:
    run("--suite", "cpu")
    assert run("--suite", "cpu", "--resume", *words, **changed) == NAMES
    assert run("--suite", "cpu", "--resume", *words, **changed) == []


def test_without_resume_all_is_measured_anew_and_nothing_is_lost_on_the_way(run: Fake) -> None:
    run("--suite", "cpu", engine=1.3)
    assert run("--suite", "cpu", engine=1.4, dies_at=NAMES[1]) == NAMES[:1]
    found = [part["arms"][1]["cpu_ratio"] for part in parts_of("zen").values()]
    assert found == [[1.4], [1.3], [1.3]]


def test_another_processor_writes_a_file_of_its_own_and_both_are_compared(run: Fake) -> None:
    run("--suite", "cpu", engine=1.1)
    before = results.file_of("cpu", "zen").read_bytes()
    assert run("--suite", "cpu", "--resume", cpu="Xeon", engine=1.4) == NAMES
    assert results.file_of("cpu", "zen").read_bytes() == before and list(parts_of("xeon")) == NAMES
    page = summary.PAGE.read_text()
    assert "worst: zen" in page and "best: xeon" in page


def test_no_part_begins_after_the_minutes(run: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--suite", "cpu", "--minutes", "-1") == []
    assert f"left for the next call: {NAMES[0]}" in capsys.readouterr().out
    assert run("--suite", "cpu", "--minutes", "5") == NAMES and run("--suite", "cpu", "--minutes", "5") == []


def test_every_part_says_how_it_was_measured(run: Fake) -> None:
    run("--suite", "cpu", "--pair", "a -> b")
    assert list(parts_of("zen")) == NAMES[:1]
    measured = parts_of("zen")[NAMES[0]]["measured"]
    assert measured["command"] == "python benchmarks/speed.py --suite cpu --rounds 7 --steps 2 --pair 'a -> b'"
    assert measured["machine"] == "Zen" and measured["processor"] == "zen" and measured["torch"] == torch.__version__
    assert measured["threads"] == 1 and measured["kernel"] == "3x3 convolution" and measured["gflops"] == 200
    assert len(measured["load"]) == 2 and measured["date"][:2] == "20" and "commit" in measured


def test_a_rehearsal_writes_nothing(run: Fake) -> None:
    before = summary.PAGE.read_text()
    assert run("--suite", "cpu", "--rehearse") == NAMES
    assert not results.RESULTS.exists() and summary.PAGE.read_text() == before


def test_the_tables_are_written_anew_from_the_numbers(run: Fake) -> None:
    run("--suite", "cpu")
    table = results.file_of("cpu", "zen").with_suffix(".md")
    wanted = table.read_text(), summary.PAGE.read_text()
    table.unlink()
    summary.PAGE.write_text(f"{summary.BEGIN}\n{summary.END}\n")
    assert run("--summary") == [] and (table.read_text(), summary.PAGE.read_text()) == wanted


def test_one_of_two_must_be_asked_for(run: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run()
    assert "--suite" in capsys.readouterr().err


def test_a_suite_on_a_gpu_is_filed_under_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    told = machine.describe(torch.device("cuda"), 1)
    assert (told["machine"], told["processor"]) == ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3")
    assert told["host"] == machine.processor().name


def test_the_code_that_is_measured_is_known_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = machine.source()
    assert usual == machine.source() and len(usual) == 12
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    file = tmp_path / "kdengine" / "losses.py"
    file.parent.mkdir()
    file.write_text("a = 1\n")
    first = machine.source()
    file.write_text("a = 2\n")
    assert machine.source() != first and machine.commit() == ""
    (tmp_path / "README.md").write_text("words\n")
    file.write_text("a = 1\n")
    assert machine.source() == first
