"""The handlers of the Compare page, called without a browser: the chosen comparison, and the form as it stands."""

from __future__ import annotations

import argparse
import csv
import shlex
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest
from finished_comparison import ACCURACY, finish
from processes import StandInWorker

from app.pages.compare import form
from app.pages.compare.handlers import NOTHING_MEASURED, Handlers
from app.pair_controls import NO_TEACHER
from app.worker import Workers
from kdengine.comparison.plan import Plan, Search, Tuning, make_plan, with_tuned
from kdengine.comparison.stored_plans import list_plans, save_plan
from kdengine.comparison.tables import FORMATS
from kdengine.errors import BadInput, KdError, Problem
from kdengine.jobs import JobLabels, JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import compare_shell as shell

pytestmark = pytest.mark.usefixtures("downloads")

COMMON = {"data": {"name": "digits", "per_class": 10}, "student": "resnet20", "teacher": "resnet8x4"}
FILLED = {
    "name": "mine", "data": "digits", "per_class": "25", "teacher": "resnet20", "student": "vgg8",
    "methods": ["dkd", "at"], "cutmix": False, "epochs": 7, "seeds": 3, "tune": 0,
    "arms": "hot method=kd method.temperature=9",
    "settings": "recipe.lr=0.02\nrecipe.batch_size=16",
}  # fmt: skip
SKIP = gr.skip()


@pytest.fixture
def process() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """One comparison that is finished, and one made later of which nothing has run."""
    workspace = Workspace(tmp_path / "home")
    plan = make_plan("done", COMMON, ["kd", "byot"], range(3))
    for number, cell in enumerate(plan.cells):
        finish(workspace, cell.spec, ACCURACY[cell.arm][cell.seed], f"run-{number:02d}")
    save_plan(plan, workspace)
    save_plan(make_plan("later", COMMON | {"student": "vgg8"}, ["dkd"], range(2)), workspace)
    return workspace


@pytest.fixture
def handlers(home: Workspace, process: StandInWorker) -> Handlers:
    workers = cast(Workers, argparse.Namespace(acting=process, background=process))
    return Handlers(list(FILLED), home, workers)


def values(**changes: Any) -> list[Any]:
    return list((FILLED | changes).values())


def by_shell(command: str) -> Plan:
    """The comparison that the shown command makes."""
    parser = argparse.ArgumentParser()
    shell.add_arguments(parser)
    words = shlex.split(command)
    assert words[:2] == ["kd", "compare"]
    return shell._plan(parser.parse_args(words[2:]))


# the form -------------------------------------------------------------------------------------------------------------


def test_the_button_says_how_many_runs_and_the_command_makes_the_same_ones(handlers: Handlers, home: Workspace) -> None:
    command, button, said = handlers.summarize(NOTHING_MEASURED, *values())
    assert button["value"] == "Compare: 12 runs" and "4 arms (none, dkd, at, hot) x 3 seeds" in said
    plan = form.plan_of(home, FILLED)
    assert by_shell(command) == plan
    spec = plan.cells[-1].spec
    assert (spec.student.name, spec.recipe.epochs, spec.recipe.lr, spec.data.per_class) == ("vgg8", 7, 0.02, 25)
    without = handlers.summarize(NOTHING_MEASURED, *values(teacher="", methods=["byot"], arms="", seeds=1))
    assert "--teacher" not in without[0] and without[1]["value"] == "Compare: 2 runs"


def test_the_time_is_that_of_this_very_comparison(handlers: Handlers, process: StandInWorker) -> None:
    process.results["forecast"] = {"seconds": 30.0, "teacher_seconds": 100.0, "device": "abacus"}
    measured = handlers.measure(*values())
    assert len(process.calls) == 4, "one forecast an arm"
    assert measured["seconds"] == 100 + 3 * 4 * 30
    assert handlers.summarize(measured, *values())[1]["value"] == "Compare: 12 runs, about 7 min 40 s"
    assert "on abacus" in handlers.summarize(measured, *values())[2]
    assert handlers.summarize(measured, *values(seeds=4))[1]["value"] == "Compare: 16 runs", "that was another one"
    process.results["forecast"] = KdError("no")
    assert handlers.measure(*values()) == NOTHING_MEASURED


def test_what_is_wrong_is_said_when_it_is_begun(handlers: Handlers, process: StandInWorker) -> None:
    assert handlers.summarize(NOTHING_MEASURED, *values(settings="nonsense"))[1]["value"] == "Compare"
    said, chosen, _, new = handlers.start(*values(settings="nonsense"))
    assert said.count('role="alert"') == 1 and chosen == new == SKIP and process.calls == []
    process.results["begin_comparison"] = BadInput([Problem("name", "taken"), Problem("arms", "none")])
    said = handlers.start(*values())[0]
    assert "name: taken" in said and "arms: none" in said


def test_it_is_begun_as_it_is_filled_in(handlers: Handlers, process: StandInWorker) -> None:
    process.results["begin_comparison"] = 12
    said, chosen, message, new = handlers.start(*values())
    (call,) = process.calls
    task, name, mapping, methods, seeds, arms, cutmix, tune = call
    assert (task, name, methods, seeds, cutmix, tune) == ("begin_comparison", "mine", ["dkd", "at"], 3, False, 0)
    assert mapping["recipe"] == {"epochs": 7, "lr": 0.02, "batch_size": 16} and arms == [FILLED["arms"]]
    assert said == "" and chosen["value"] == "mine" and "12 runs queued" in message
    assert new["open"] is False, "the results have the page now"


def test_with_a_search_the_trials_and_the_tuned_runs_count_too(
    handlers: Handlers, home: Workspace, process: StandInWorker
) -> None:
    command, button, said = handlers.summarize(NOTHING_MEASURED, *values(tune=5))
    assert button["value"] == "Compare: 44 runs", "4 arms: 3 seeds as they are, 3 tuned, 5 trials"
    assert "5 trials search the learning rate" in said and by_shell(command) == form.plan_of(home, FILLED | {"tune": 5})
    process.results["forecast"] = {"seconds": 30.0, "teacher_seconds": 100.0, "device": "abacus"}
    assert handlers.measure(*values(tune=5))["seconds"] == 100 + 44 * 30
    process.results["begin_comparison"] = 12
    handlers.start(*values(tune=5))
    assert process.calls[-1][-1] == 5
    assert handlers.summarize(NOTHING_MEASURED, *values(tune=1))[1]["value"] == "Compare", "one trial is no search"


def test_how_the_searches_stand_is_said_until_all_have_found_something(handlers: Handlers, home: Workspace) -> None:
    plan = make_plan("tuned", COMMON, ["kd"], range(2), cutmix=False, tuning=Tuning(trials=4))
    save_plan(plan, home)
    mark, said, resume, stop, *_ = handlers.refresh("tuned", "")
    assert said.count("waiting, 0 of 4 trials") == 2 and stop["visible"] and not resume["visible"]
    store = JobStore(home)
    labels = JobLabels(name="study", kind="study", dataset="digits", method="kd", student="resnet20")
    for arm in ("none", "kd"):
        store.submit("{}", run_id=f"study-tuned-{arm}", command="", labels=labels)
        store.change(f"study-tuned-{arm}", set(State), state=State.FAILED, message="the last 5 trials failed")
    then, said, resume, stop, *_ = handlers.refresh("tuned", mark)
    assert then != mark and said.count("failed, 0 of 4 trials: the last 5 trials failed") == 2
    assert resume["visible"] and not stop["visible"] and 'href="/studies?name=tuned-kd"' in said
    for arm in ("none", "kd"):
        plan = with_tuned(plan, Search(arm=arm, study=f"tuned-{arm}", values={"recipe.lr": 0.1}, trials=4, epochs=8,
                                       validation=0.5))  # fmt: skip
    save_plan(plan, home)
    assert "trials" not in handlers.refresh("tuned", then)[1]


def test_teachers_are_those_of_the_data(handlers: Handlers) -> None:
    choices = handlers.offer_teachers("digits")["choices"]
    assert choices[0] == NO_TEACHER and any(value.startswith("run:") for _, value in choices)
    assert not any(value.startswith("run:") for _, value in handlers.offer_teachers("cifar10")["choices"])


# how it stands --------------------------------------------------------------------------------------------------------


def test_the_address_names_the_comparison(handlers: Handlers, home: Workspace) -> None:
    newest = list_plans(home)[0]
    other = next(name for name in ("done", "later") if name != newest)
    assert handlers.arrive({})[0]["value"] == newest
    chosen, said, new = handlers.arrive({"name": other})
    assert chosen["value"] == other and set(chosen["choices"]) == {"done", "later"} and said == "" and not new["open"]
    chosen, said, _ = handlers.arrive({"name": "nobody"})
    assert chosen["value"] is None and said.count('role="alert"') == 1, "no other in its place"


def test_a_finished_comparison_is_shown_whole_and_once(handlers: Handlers) -> None:
    mark, said, resume, stop, *rest = handlers.refresh("done", "")
    files, (gains, table, columns, extend) = rest[: len(FORMATS)], rest[len(FORMATS) :]
    assert "<b>12 of 12</b> runs finished" in said and not resume["visible"] and not stop["visible"]
    assert gains["visible"] and len(gains["value"].data) > 0 and "byot" in table
    assert columns["visible"] and extend["visible"]
    assert table.index("test, best (%)") < table.index('class="r more"') and "more" not in table.split("verdict")[0]
    assert [Path(file["value"]).suffix for file in files] == [".csv", ".md", ".tex", ".html", ".svg"]
    rows = list(csv.reader(Path(files[0]["value"]).read_text().splitlines()))
    assert [row[0] for row in rows[1:]][:4] == ["none", "none, cutmix", "kd", "byot"]
    assert handlers.refresh("done", mark) == [SKIP] * (8 + len(FORMATS)), "nothing has changed"
    then, said, resume, *_ = handlers.refresh("later", mark)
    assert then != mark and "<b>0 of 6</b>" in said and resume["visible"], "what is missing can be queued"


def test_what_is_added_is_what_it_lacks(handlers: Handlers, process: StandInWorker) -> None:
    seeds, methods = handlers.offer_more("done")
    offered = [name for _, name in methods["choices"]]
    assert seeds == 3 and "dkd" in offered and not set(offered) & {"kd", "byot", "none"}
    assert handlers.offer_more("later")[0] == 2 and handlers.offer_more("nobody") == [SKIP, SKIP]
    process.results["extend_comparison"] = 8
    assert "8 runs queued" in handlers.extend("done", 4.0, ["dkd"])
    assert process.calls == [("extend_comparison", "done", 4, ["dkd"])]
    process.results["extend_comparison"] = BadInput([Problem("seeds", "too few")])
    assert "seeds: too few" in handlers.extend("done", None, [])


def test_what_is_added_is_weighed_before(handlers: Handlers, process: StandInWorker) -> None:
    """The four arms get a seed each, and the new method all four."""
    process.results["forecast"] = {"seconds": 30.0}
    counted, timed = handlers.weigh("done", 4.0, ["dkd"])
    assert counted["value"] == "Add 8 runs" and timed["value"] == "Add 8 runs, about 4 min 00 s"
    assert len(process.calls) == 5, "one forecast for each arm"
    assert [each["value"] for each in handlers.weigh("done", 3.0, [])] == ["Add"], "nothing is missing"
    assert [each["value"] for each in handlers.weigh("done", 2.0, [])] == ["Add"], "fewer seeds: said when clicked"
    process.results["forecast"] = KdError("no place")
    assert [each["value"] for each in handlers.weigh("done", 4.0, [])] == ["Add 4 runs"]


def test_nothing_and_nobody(handlers: Handlers, process: StandInWorker, tmp_path: Path) -> None:
    assert "Choose a comparison above" in handlers.refresh(None, "x")[1]
    empty = Handlers([], Workspace(tmp_path / "empty"), handlers.workers)
    assert "No comparison yet" in empty.refresh(None, "x")[1] and empty.arrive({})[2]["open"]
    assert handlers.refresh("nobody", "x")[1].count('role="alert"') == 1
    process.results["resume_comparison"] = 5
    assert "5 runs queued" in handlers.again("later") and process.calls == [("resume_comparison", "later")]
    process.results["resume_comparison"] = KdError("no place")
    assert handlers.again("later").count('role="alert"') == 1
    assert handlers.end("nobody").count('role="alert"') == 1


def test_what_cannot_be_measured_is_said_once(
    handlers: Handlers, process: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", warned.append)
    handlers.measure_finished("later")
    assert process.calls == [], "nothing of it has finished"
    process.results["measure_comparison"] = 3
    handlers.measure_finished("done")
    assert process.calls == [("measure_comparison", "done")]
    process.results["measure_comparison"] = KdError("gone")
    for _ in range(3):
        handlers.measure_finished("done")
    assert warned == ["gone"] and len(process.calls) == 2
