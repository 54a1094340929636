"""The handlers of the Studies page, called without a browser: the chosen study, and the form as it stands."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest
from processes import StandInWorker

from app.pages.studies import form_values
from app.pages.studies.board import StudyBoard
from app.pages.studies.display import COUNTS, FIGURES
from app.pages.studies.form_handlers import FormHandlers
from app.pages.studies.parts import draw
from app.pages.studies.study_handlers import StudyHandlers
from app.worker import Worker, Workers
from kdengine.errors import BadInput, KdError, Problem
from kdengine.jobs import JobStore, stop_supervisor
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import actions as control
from studies import ready_made

sys.path.append(str(Path(__file__).parents[1] / "studies"))
from mill import Mill, isolate, small_plan

pytestmark = pytest.mark.processes  # a study that goes on starts a supervisor

SKIP = gr.skip()
STUDIES = ("older", "newer")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two studies that are done, of eight trials and of four; nobody changes them."""
    return worked_off(tmp_path_factory.mktemp("done") / "home", ("budget", {"trials": 8}), ("budget", {"trials": 4}))


def worked_off(root: Path, *more: tuple[str, Any]) -> Workspace:
    mill = Mill(Workspace(root))
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, root)
        for name, (key, value) in zip(STUDIES, more, strict=False):
            plan = mill.begin(small_plan(name, **{"pruner": "none", key: value}))
            mill.work(plan, only=f"{name}-")
            mill.store.change(plan.job_id, set(State), state=State.FINISHED)
    return mill.workspace


@pytest.fixture
def study(done: Workspace) -> StudyHandlers:
    return StudyHandlers(StudyBoard(done), cast(Worker, StandInWorker()))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What notices say."""
    messages: list[str] = []
    monkeypatch.setattr(gr, "Info", messages.append)
    return messages


def parts(values: list[Any]) -> dict[str, list[Any]]:
    """Values by the part of the page that shows them."""
    rest, found = iter(values[1:]), {}
    for name, count in COUNTS.items():
        found[name] = [next(rest) for _ in range(count)]
    assert not list(rest)
    return found


# the chosen study -----------------------------------------------------------------------------------------------------


def test_every_part_has_its_components(tmp_path: Path) -> None:
    with gr.Blocks():
        drawn = draw(Workspace(tmp_path))
    assert {name: len(group) for name, group in drawn.groups.items()} == COUNTS


def test_the_address_names_the_study(study: StudyHandlers, tmp_path: Path) -> None:
    assert study.arrive({}) == [gr.update(choices=["newer", "older"], value="newer"), "", gr.update(open=False)]
    assert study.arrive({"spec": "method: kd"})[2]["open"], "an experiment was brought"
    assert study.arrive({"name": "older"})[0]["value"] == "older"
    chosen, words, _ = study.arrive({"name": "nobody"})
    assert chosen["value"] is None and words.count('role="alert"') == 1 and "nobody" in words
    nothing = StudyHandlers(StudyBoard(Workspace(tmp_path)), study.worker)
    assert nothing.arrive({})[0]["value"] is None and nothing.arrive({})[2]["open"]
    assert "No study yet" in parts(nothing.refresh(None, "history", None, None, {}))["state"][0]


def test_a_look_shows_the_chosen_study_and_then_nothing_new(study: StudyHandlers) -> None:
    first = study.refresh("older", "history", None, None, {})
    shown = parts(first)
    assert "<b>8</b> of 8 trials" in shown["state"][0] and shown["table"][0].count("<tr") == 1 + 8
    after, now, most, resume, *_ = shown["actions"]
    assert not after["visible"] and not now["visible"] and resume["visible"] and most["value"] == 18, "ten trials more"
    assert len(shown["history"][0].data) > 0 and shown["curves"] == [SKIP], "the open tab alone is drawn"
    assert study.refresh("older", "history", None, None, first[0]) == [SKIP] * len(first)
    other = parts(study.refresh("newer", "history", None, None, first[0]))
    assert "<b>4</b> of 4 trials" in other["state"][0] and other["table"][0].count("<tr") == 1 + 4


@pytest.mark.parametrize("kind", FIGURES)
def test_each_tab_draws_its_figure(study: StudyHandlers, kind: str) -> None:
    shown = parts(study.refresh("older", kind, "method.alpha", "method.temperature", {}))
    assert [name for name in FIGURES if shown[name] != [SKIP]] == [kind]
    x, y = shown["pair"]
    assert (x["value"], y["value"]) == ("method.alpha", "method.temperature")


def test_a_study_that_is_not_there_is_refused(study: StudyHandlers, said: list[str]) -> None:
    assert parts(study.refresh("nobody", "history", None, None, {}))["state"][0].count('role="alert"') == 1
    for action in (study.stop_after_current, study.stop_now):
        assert action("nobody").count('role="alert"') == 1
    assert study.resume("nobody", 3.0).count('role="alert"') == 1
    assert study.add_by_hand("older", "nonsense").count('role="alert"') == 1 and said == []


def test_confirming_takes_the_number_of_seeds(done: Workspace, said: list[str]) -> None:
    process = StandInWorker(confirm_study=6)
    study = StudyHandlers(StudyBoard(done), cast(Worker, process))
    assert study.confirm("older", 3.0) == "" and said == ["6 runs queued"]
    assert process.calls == [("confirm_study", "older", 3)]
    process.results["confirm_study"] = KdError("too few")
    assert study.confirm("older", 1.0).count('role="alert"') == 1 and len(said) == 1


def test_a_trial_by_hand_waits_and_a_resumed_study_takes_it(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = worked_off(tmp_path / "home", ("budget", {"trials": 4}))
    isolate(monkeypatch, workspace.root)
    study = StudyHandlers(StudyBoard(workspace), cast(Worker, StandInWorker()))
    try:
        assert study.add_by_hand("older", "method.temperature=2.5, method.alpha=0.25") == ""
        assert "it is queued" in said[-1]
        view = control.view("older", workspace)
        assert view.trials[-1].state == "waiting" and view.count("waiting") == 1
        assert study.resume("older", 5.0) == "" and control.view("older", workspace).plan.budget.trials == 5
        assert study.stop_now("older") == "" and said[-1] == "the runs stop with a checkpoint"
        while not JobStore(workspace).get("study-older").state.ended:
            time.sleep(0.05)
    finally:
        stop_supervisor(workspace)


# the form -------------------------------------------------------------------------------------------------------------


FILLED: dict[str, Any] = {
    "ready": "", "name": "mine", "data": "digits", "per_class": "30", "teacher": "resnet20", "student": "vgg8",
    "method": "dkd", "epochs": 9, "space": [[True, "method.beta", "", "0.5..4"]], "trials": 6, "hours": "",
    "seeds": 2, "metrics": ["accuracy"], "sampler": "random", "pruner": "none", "startup": 5, "patience": 1,
    "settings": "recipe.lr=0.02",
}  # fmt: skip


@pytest.fixture
def process() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def form(done: Workspace, process: StandInWorker) -> FormHandlers:
    workers = cast(Workers, argparse.Namespace(acting=process, measuring=process))
    return FormHandlers(list(FILLED), StudyBoard(done), workers)


def values(**changes: Any) -> list[Any]:
    return list((FILLED | changes).values())


def by_name(values: list[Any]) -> dict[str, Any]:
    return dict(zip(FILLED, values, strict=True))


def test_the_names_are_those_of_the_drawn_form(tmp_path: Path) -> None:
    with gr.Blocks():
        assert list(draw(Workspace(tmp_path)).form) == list(FILLED)


def test_the_command_is_that_of_the_form(form: FormHandlers) -> None:
    command = form.show_command(*values())
    for words in ("kd study new mine", "--student vgg8", "--method dkd", "--tune method.beta=0.5..4,linear",
                  "--trials 6", "--seeds 2", "--sampler random", "--set recipe.lr=0.02"):  # fmt: skip
        assert words in command


def test_rows_are_those_of_the_method_and_keep_what_a_person_gave_them(form: FormHandlers) -> None:
    fresh, teacher, words = form.offer_rows(*values())
    beta = next(row for row in fresh if row[1] == "method.beta")
    assert teacher["interactive"] and words == "" and beta[3] != "0.5..4"
    kept = form.keep_rows(*values())[0]
    assert next(row for row in kept if row[1] == "method.beta")[::3] == [True, "0.5..4"]
    assert not form.offer_rows(*values(method="byot"))[1]["interactive"], "it has no use for a teacher"
    rows, _, words = form.offer_rows(*values(settings="recipe.lr=fast"))
    assert rows == SKIP and words.count('role="alert"') == 1
    assert len(form.first_rows(*values(settings="recipe.lr=fast"))) == 2, "what the address said stays to be read"


@pytest.mark.parametrize("name", ready_made.names())
def test_a_ready_study_fills_the_form(form: FormHandlers, name: str) -> None:
    filled = by_name(form.fill(name))
    assert filled["name"] == name and filled["ready"] == SKIP and filled["space"]
    assert form.fill("no such study") == [SKIP] * len(FILLED)


def test_an_experiment_of_the_address_fills_the_form(form: FormHandlers) -> None:
    spec = ExperimentSpec.from_mapping(
        {"data": {"name": "digits", "per_class": 13}, "student": "vgg8", "method": {"name": "dkd", "beta": 3.0},
         "teacher": "resnet20", "recipe": {"epochs": 4}}
    )  # fmt: skip
    *filled, refused = form.arrive({"spec": spec.to_yaml()})
    shown = by_name(filled)
    assert (shown["student"], shown["method"], shown["per_class"], shown["epochs"]) == ("vgg8", "dkd", "13", 4)
    assert shown["teacher"]["value"] == "resnet20" and "method.beta=3.0" in shown["settings"] and refused == ""
    *filled, refused = form.arrive({"spec": "student: nobody"})
    assert refused.count('role="alert"') == 1 and by_name(filled)["student"] == SKIP
    *filled, refused = form.arrive({})
    assert refused == "" and "value" not in by_name(filled)["data"], "the form stays as it stands"


def test_a_study_is_begun_as_it_is_filled_in(form: FormHandlers, process: StandInWorker) -> None:
    process.results["begin_study"] = "older"
    words, chosen, new = form.start(*values())
    ((task, wanted),) = process.calls
    assert (
        task == "begin_study"
        and wanted == form_values.plan_mapping(form.workspace, FILLED)
        and wanted["budget"]["trials"] == 6
    )
    assert words == "" and chosen == gr.update(choices=["newer", "older"], value="older")
    assert new == gr.update(open=False)
    process.results["begin_study"] = BadInput([Problem("name", "taken"), Problem("space", "empty")])
    words, chosen, new = form.start(*values())
    assert "name: taken" in words and "space: empty" in words and chosen == new == SKIP


def test_how_long_it_takes_counts_trials_and_seeds(form: FormHandlers, process: StandInWorker) -> None:
    process.results["forecast"] = {"seconds": 20.0, "teacher_seconds": 60.0, "device": "abacus"}
    cost, words = form.measure(*values())
    assert "12 runs of 20 s" in cost and "about 5 min 00 s" in cost and words == ""
    cost, words = form.measure(*values(settings="nonsense"))
    assert cost == "" and words.count('role="alert"') == 1 and len(process.calls) == 1


def test_several_goals_prune_nothing(form: FormHandlers) -> None:
    assert form.choose_objectives(["accuracy", "latency_ms"]) == "none" and form.choose_objectives(["ece"]) == SKIP
    assert form.offer_teachers("digits")["choices"]
