"""What a notebook shows of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support import Distilled

from kdengine.runner import RunResult
from kdengine.workspace.states import State


def test_a_run_shows_its_accuracy_and_its_curve_with_the_teacher_s_line(distilled: Distilled) -> None:
    result = distilled.second
    shown = result._repr_html_()
    assert result.run_id in shown and f"{100 * result.metrics['best']['accuracy']:.1f} %" in shown
    figure = result.plot()
    epochs = list(distilled.workspace.run(result.run_id).events("epoch"))
    (drawn,) = (trace for trace in figure.data if trace.name == "student")
    assert list(drawn.y) == [100 * event["validation"]["accuracy"] for event in epochs]
    taught = distilled.workspace.run(distilled.workspace.run(result.run_id).status()["teacher_run"])
    line = 100 * taught.status()["best"]["accuracy"]
    (teacher,) = (trace for trace in figure.data if trace.name == "teacher")
    assert set(teacher.y) == {line}


def test_a_run_that_stopped_has_no_accuracy_and_its_names_are_escaped(tmp_path: Path) -> None:
    stopped = RunResult("run", State.STOPPED, tmp_path / "<b>runs</b>" / "run")
    shown = stopped._repr_html_()
    assert "stopped" in shown and "test" not in shown.replace(str(tmp_path), "") and "<b>" not in shown
    assert replace(stopped, metrics={"last": {"accuracy": 0.5}})._repr_html_().count("50.0 %") == 1
