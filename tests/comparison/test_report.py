"""From the folders of finished runs to the table: values by hand, what is missing left out, texts that can be read."""

from __future__ import annotations

import csv
import html
import io
import math
from pathlib import Path

import pytest
from finished_comparison import ACCURACY, finish

from kdengine.comparison.plan import Plan, make_plan
from kdengine.comparison.progress import MISSING, progress, unmeasured
from kdengine.comparison.queueing import queue_missing, stop
from kdengine.comparison.report import Report, Row, report
from kdengine.comparison.tables import FORMATS, columns, notes, report_gains, rows
from kdengine.jobs import JobStore
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace, files

GAIN = {"kd": (2.333333, 1.527525), "byot": (2.0, 0.0)}


def by_name(found: Report) -> dict[str, Row]:
    return {row.name: row for row in found.rows}


def test_means_spreads_and_gains_by_hand(plan: Plan, finished: Workspace) -> None:
    table = by_name(report(progress(plan, finished)))
    kd = table["kd"]
    assert kd.best and kd.last and kd.gain and table["none"].gain is None
    assert (kd.best.n, kd.best.mean) == (3, pytest.approx(280 / 3)) and kd.last.mean == pytest.approx(280 / 3 - 1)
    for arm, (mean, deviation) in GAIN.items():
        gain = table[arm].gain
        assert gain is not None
        assert (gain.difference.mean, gain.difference.deviation) == (
            pytest.approx(mean),
            pytest.approx(deviation, abs=1e-5),
        )
    assert table["byot"].gain and table["byot"].gain.verdict == "helps"
    assert kd.gain.verdict == "not decided: about 6 seeds would"
    assert table["byot"].gain_to_kd and table["byot"].gain_to_kd.difference.mean == pytest.approx(-1 / 3)
    assert kd.gain_to_kd is None
    assert kd.per_class == (pytest.approx(280 / 3), 100.0) and kd.minutes and kd.minutes.mean == 1.5


def test_only_seeds_that_both_have_are_paired(plan: Plan, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    kept = {("none", 0), ("none", 1), ("kd", 1), ("kd", 2)}
    for number, cell in enumerate(cell for cell in plan.cells if (cell.arm, cell.seed) in kept):
        finish(workspace, cell.spec, ACCURACY[cell.arm][cell.seed], f"run-{number}")
    found = report(progress(plan, workspace))
    gain = by_name(found)["kd"].gain
    assert gain is not None and (gain.difference.n, gain.difference.mean) == (1, pytest.approx(1.0))
    assert gain.verdict == "not decided: one seed says nothing" and math.isinf(gain.difference.high)
    assert (found.finished, found.total) == (4, 12) and by_name(found)["byot"].best is None


def test_the_shared_teacher_has_a_row_of_its_own(plan: Plan, finished: Workspace) -> None:
    assert "teacher" not in by_name(report(progress(plan, finished)))
    teacher = plan.teacher()
    assert isinstance(teacher, ExperimentSpec)
    finish(finished, teacher, 97.0, "its-teacher")
    row = report(progress(plan, finished)).rows[0]
    assert row.name == "teacher" and row.best and row.best.mean == pytest.approx(97)


def test_numbers_measured_later_join_the_table(plan: Plan, finished: Workspace) -> None:
    now = progress(plan, finished)
    assert len(unmeasured(now)) == 12
    run = next(cell.run for cell in now.of("kd"))
    assert run is not None
    measured = {
        "parameters": 1000,
        "macs": 2_000_000,
        "milliseconds": 1.5,
        "agreement": 0.9,
        "kl": 0.25,
        "teacher": "t",
    }
    files.write_json(run.path / "measured.json", measured)
    kd = by_name(report(progress(plan, finished)))["kd"]
    assert kd.agreement and kd.agreement.mean == 90 and kd.kl and kd.kl.mean == 0.25 and kd.parameters == 1000
    assert len(unmeasured(progress(plan, finished))) == 11


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "svg"])
def test_every_format_names_every_arm_and_its_accuracy(kind: str, plan: Plan, finished: Workspace) -> None:
    text = FORMATS[kind](report(progress(plan, finished)))
    for arm in ACCURACY:
        assert arm in text
    assert "93.33" in text or "93.3333" in text


def test_the_figure_for_a_paper_names_every_arm_that_has_a_gain(plan: Plan, finished: Workspace) -> None:
    found = report(progress(plan, finished))
    text = FORMATS["svg"](found)
    for row in found.rows:
        assert (f">{row.name}</text>" in text) is (row.gain is not None), row.name
    assert "+2.00 [+2.00, +2.00], n = 3" in text


def test_the_csv_is_read_back(plan: Plan, finished: Workspace) -> None:
    text = FORMATS["csv"](report(progress(plan, finished)))
    lines = {line["arm"]: line for line in csv.DictReader(io.StringIO(text))}
    assert float(lines["byot"]["gain"]) == 2 and lines["byot"]["verdict"] == "helps"
    assert float(lines["kd"]["test_best_sd"]) == pytest.approx(GAIN["kd"][1], abs=1e-4)
    assert lines["none"]["gain"] == "" and float(lines["none"]["class right"]) == 100


def test_signs_of_the_format_in_a_name_do_no_harm(finished: Workspace) -> None:
    common = {"data": {"name": "digits", "per_class": 10}, "student": "resnet20"}
    odd = make_plan("odd", common, [], range(1), ["a_b|<i>50%</i> method=byot"])
    finish(finished, next(cell.spec for cell in odd.cells if "|" in cell.arm), 90.0, "odd")
    found = report(progress(odd, finished))
    assert r"a\_b|<i>50\%</i>" in FORMATS["latex"](found)
    assert "<i>" not in FORMATS["html"](found) and r"a_b\|<i>" in FORMATS["markdown"](found)


def test_latex_says_the_verdict_and_the_notes_and_no_spread_of_a_single_run(plan: Plan, finished: Workspace) -> None:
    found = report(progress(plan, finished))
    text = FORMATS["latex"](found)
    byot = next(line for line in text.splitlines() if line.startswith("byot"))
    assert r"\pm" in byot and byot.endswith(r"& helps * \\"), byot
    assert all(note.split(";")[0].replace("%", r"\%")[:40] in text for note in notes(found)[:1])
    assert "Holm" in text and r"$\pm$" in text.split(r"\end{tabular}")[1]
    alone = report(progress(make_plan("single", plan.common, ["byot"], range(1), cutmix=False), finished))
    lines = FORMATS["latex"](alone).split(r"\end{tabular}")[0]
    assert r"\pm" not in lines and "one seed says nothing" in lines


def test_without_the_student_alone_the_first_arm_is_the_baseline(plan: Plan, finished: Workspace) -> None:
    """As in the confirmation of a study, whose arms are the defaults and the tuned values."""
    arms = tuple(arm for arm in plan.arms if arm.name in ("kd", "byot"))
    found = report(progress(Plan(name="two", common=plan.common, arms=arms, seeds=plan.seeds), finished))
    assert found.baseline == "kd" and "minus kd" in columns(found)
    assert by_name(found)["byot"].gain is not None and by_name(found)["kd"].gain is None
    assert len(report_gains(found)) == 1
    assert not any("student alone" in note for note in notes(found))


def test_the_baseline_with_cutmix_can_be_left_out(plan: Plan) -> None:
    names = [arm.name for arm in make_plan("x", plan.common, ["kd"], range(1), cutmix=False).arms]
    assert names == ["none", "kd"]


def test_a_terminal_gets_fewer_columns_and_the_notes_say_what_chance_does(plan: Plan, finished: Workspace) -> None:
    found = report(progress(plan, finished))
    brief, whole = columns(found, brief=True), columns(found)
    assert set(brief) < set(whole) and all(len(line) == len(brief) for line in rows(found, brief=True))
    assert "12 of 12 runs finished; Abacus, torch 1.0." in notes(found)[0]
    assert "0.1 of 3 arms" in notes(found)[2]


def test_what_is_finished_is_not_queued_again(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    cells = list(plan.cells)
    finish(workspace, cells[0].spec, 90.0, "before")
    assert queue_missing(plan, workspace) == len(cells) - 1
    jobs = JobStore(workspace).jobs()
    assert len(jobs) == len(cells) - 1 + 1, "one teacher for all, and nothing for what is there"
    assert len({job.fingerprint for job in jobs}) == len(jobs)
    assert queue_missing(plan, workspace) == 0, "what waits is not queued again"
    now = progress(plan, workspace)
    assert now.under_way and now.count("queued") == len(cells) - 1 and now.count(MISSING) == 0


def test_what_was_stopped_is_resumed_only_when_asked(plan: Plan, finished: Workspace) -> None:
    broken = finished.run("run-05")
    broken.update_status(state="stopped", message="stopped on request")
    assert progress(plan, finished).count("stopped") == 1
    assert queue_missing(plan, finished, again=False) == 0
    assert queue_missing(plan, finished, again=True) == 1
    assert JobStore(finished).get("run-05").state == "queued"


def test_stopping_takes_what_waits_out_of_the_queue_and_resuming_brings_it_back(plan: Plan, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    count = queue_missing(plan, workspace)
    assert stop(plan, workspace) == count and not progress(plan, workspace).under_way
    assert stop(plan, workspace) == 0
    assert queue_missing(plan, workspace) == count and progress(plan, workspace).under_way


def test_a_notebook_shows_table_notes_and_gains(plan: Plan, finished: Workspace) -> None:
    found = report(progress(plan, finished))
    shown = found._repr_html_()
    assert all(html.escape(cell) in shown for line in rows(found, brief=True) for cell in line)
    assert all(html.escape(note) in shown for note in notes(found))
    drawn = found.plot().to_dict()
    assert [list(trace["x"]) for trace in drawn["data"] if trace.get("x") is not None]
    assert all(row["name"] in str(drawn) for row in report_gains(found))
