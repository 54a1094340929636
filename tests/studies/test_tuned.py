"""A tuned comparison: equal budgets, the best by validation on fresh seeds, nothing twice, whatever is killed when."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mill as mills
import pytest
from mill import Mill, isolate

from kdengine import cli
from kdengine.comparison import queueing
from kdengine.comparison.plan import SEARCH_SEED, Plan, Search, Tuning, extended, make_plan, with_tuned
from kdengine.comparison.progress import progress
from kdengine.comparison.report import Report, report
from kdengine.comparison.searches import FOUND, searches, study_name
from kdengine.comparison.stored_plans import load_plan
from kdengine.comparison.tables import as_csv, columns, core, notes, rows
from kdengine.errors import BadInput
from kdengine.jobs import Job
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import actions, comparing, tuned
from studies.controller import Controller

EPOCHS, TRIALS = 3, 4
COMMON: dict[str, Any] = {
    "data": {"name": "digits", "per_class": 20}, "student": "resnet20", "recipe": {"epochs": EPOCHS, "lr": 0.05},
}  # fmt: skip


def goodness(spec: dict[str, Any]) -> float:
    """Planted: plain training wants a smaller learning rate than the recipe's; byot wants its temperature too."""
    off = abs(math.log(spec["recipe"]["lr"] / 0.02))
    if spec["method"]["name"] == "byot":
        off += 0.5 * abs(math.log(spec["method"]["temperature"] / 6))
    return 0.9 - 0.05 * off + 0.001 * (spec["seed"] % 7)


class Lab(Mill):
    """Works off a tuned comparison: its runs, its studies, and what the process of a study does at its end."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.alive: dict[tuple[str, int], Controller] = {}

    def end(self, job: Job, state: State, reason: str | None, message: str = "") -> None:
        if state is State.FINISHED:
            run = self.workspace.run(job.id)
            accuracy = run.status()["best"]["accuracy"]
            found = {"accuracy": accuracy, "ece": 0.1}
            run.update_status(test={"best": found, "last": found}, fingerprint=job.fingerprint)
        super().end(job, state, reason, message)

    def studies(self) -> list[Job]:
        return [job for job in self.store.jobs() if job.is_controller and not job.state.ended]

    def steered(self, job: Job) -> Controller:
        """The controller of a study's job, the same one for as long as its process would live."""
        mark = (job.id, job.attempt)
        if mark not in self.alive:
            self.alive[mark] = self.controller(actions.view(job.id.removeprefix("study-"), self.workspace).plan)
        return self.alive[mark]

    def one_turn(self, name: str) -> None:
        for job in self.studies():
            if self.steered(job).turn():
                tuned.advance(name, self.workspace, ended=job.id.removeprefix("study-"))
                self.store.change(job.id, set(State), state=State.FINISHED)
        self.play()

    def kill(self) -> None:
        """All controllers die, and are noticed as lost."""
        self.alive.clear()
        for job in self.studies():
            self.store.change(job.id, set(State), state=State.LOST, reason="lost")

    def until_done(self, name: str, turns: int = 600) -> None:
        for turn in range(turns):
            self.one_turn(name)
            if turn % 4:
                continue
            plan = load_plan(self.workspace, name)
            tuning = searches(plan, self.workspace)
            if not progress(plan, self.workspace).under_way and not any(each.under_way for each in tuning):
                return
        raise AssertionError("not done")


def furnished_lab(patch: pytest.MonkeyPatch, root: Path) -> Lab:
    isolate(patch, root)
    patch.setattr(mills, "goodness", goodness)
    patch.setenv("KD_CPU_SLOTS", "2")
    return Lab(Workspace(root))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return furnished_lab(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Report]]:
    """One that is done, which nobody changes."""
    with pytest.MonkeyPatch.context() as patch:
        lab = furnished_lab(patch, tmp_path_factory.mktemp("whole"))
        yield lab, done(lab, asked())


def asked(name: str = "fair", **more: Any) -> Plan:
    given: dict[str, Any] = {"methods": ["byot"], "seeds": range(3), "cutmix": False, "tuning": Tuning(trials=TRIALS)}
    given |= more
    return make_plan(name, COMMON, given.pop("methods"), given.pop("seeds"), given.pop("arms", ()), **given)


def done(lab: Lab, plan: Plan) -> Report:
    tuned.begin(plan, lab.workspace)
    lab.until_done(plan.name)
    return report(progress(load_plan(lab.workspace, plan.name), lab.workspace))


def test_every_arm_gets_the_same_budget_and_a_tuned_one_beside_it(whole: tuple[Lab, Report]) -> None:
    lab, found = whole
    assert [row.name for row in found.rows] == ["none", "none, tuned", "byot", "byot, tuned"]
    assert found.finished == found.total == 4 * 3
    searched = {row.name: row.search for row in found.rows if row.search}
    assert [search.trials for search in searched.values()] == [TRIALS, TRIALS]
    alone, byot = searched["none, tuned"], searched["byot, tuned"]
    # The student alone has nothing but its learning rate; the method has what it declares, beside that.
    assert set(alone.values) == {"recipe.lr"}
    assert {"recipe.lr", "method.temperature"} < set(byot.values)
    for arm, search in (("none", alone), ("byot", byot)):
        view = actions.view(study_name("fair", arm), lab.workspace)
        assert view.plan.seeds == (SEARCH_SEED,) and view.plan.parallel == 1
        first = view.trials[0]
        assert first.params["recipe.lr"] == pytest.approx(0.05) and first.origin == "default"
        best = max(row.values[0] for row in view.trials if row.state == "complete")
        assert search.validation == best and search.default == first.values[0]
    # The test images are read by runs of the comparison alone, each with a seed that no search has seen.
    plan = load_plan(lab.workspace, "fair")
    assert all(cell.seed != SEARCH_SEED for cell in plan.cells)
    assert {cell.spec.recipe.lr for cell in plan.cells if cell.arm == "none, tuned"} == {alone.values["recipe.lr"]}


def test_tuned_is_measured_against_tuned(whole: tuple[Lab, Report]) -> None:
    """Planted: tuning helps both; what the method gains over a student that was not tuned would be another number."""
    found = {row.name: row for row in whole[1].rows}
    assert found["byot"].gain is not None and found["byot"].gain.to == "none"
    gain = found["byot, tuned"].gain
    assert gain is not None and gain.to == "none, tuned"
    both = found["byot, tuned"].best, found["none, tuned"].best
    assert both[0] is not None and both[1] is not None
    assert gain.difference.mean == pytest.approx(both[0].mean - both[1].mean)
    assert found["none, tuned"].gain is None
    untuned = found["none"].best
    assert untuned is not None and both[1].mean > untuned.mean + 1


def test_the_table_says_what_was_found_and_what_it_cost(whole: tuple[Lab, Report]) -> None:
    found = whole[1]
    assert (columns(found)[core(found) - 1], columns(found)[-1]) == ("settings found", "search")
    line = dict(zip(columns(found), rows(found)[3], strict=True))
    assert "temperature" in line["settings found"] and "lr 0.0" in line["settings found"]
    assert f"{TRIALS} trials" in line["search"] and "defaults" in line["search"]
    assert any("the student alone among them, 4 trials" in note for note in notes(found))
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [each["trials"] for each in lines] == ["", "4", "", "4"]
    assert "method.temperature=" in lines[3]["found"]


def test_epochs_as_the_budget_let_pruned_trials_make_room(lab: Lab) -> None:
    found = done(lab, asked(tuning=Tuning(epochs=13)))
    for row in found.rows:
        if row.search:
            assert 13 <= row.search.epochs < 13 + EPOCHS
    view = actions.view(study_name("fair", "byot"), lab.workspace)
    assert view.epochs_run == sum(each.epochs for each in view.trials if each.state in ("complete", "pruned"))


def test_best_defaults_are_not_trained_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mills, "goodness", lambda spec: 0.9 - abs(math.log(spec["recipe"]["lr"] / 0.05)))
    found = done(lab, asked(methods=[]))
    plan = load_plan(lab.workspace, "fair")
    assert {cell.fingerprint for cell in plan.cells if cell.arm == "none"} == {
        cell.fingerprint for cell in plan.cells if cell.arm == "none, tuned"
    }
    runs = [job for job in lab.runs() if "-t0" not in job.id]
    assert len(runs) == 3 and found.finished == 6


def test_as_many_searches_as_slots(lab: Lab) -> None:
    plan = asked(methods=["byot", "cs_kd", "tf_kd"])
    tuned.begin(plan, lab.workspace)
    states = [each.state for each in searches(plan, lab.workspace)]
    assert states == ["queued", "queued", "waiting", "waiting"]
    for _ in range(3):
        tuned.advance("fair", lab.workspace)
    assert [each.state for each in searches(plan, lab.workspace)] == states
    lab.until_done("fair")
    plan = load_plan(lab.workspace, "fair")
    assert [each.state for each in searches(plan, lab.workspace)] == [FOUND] * 4


def test_the_course_of_a_search_depends_on_nothing_beside_it(
    whole: tuple[Lab, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one slot and no other arm it tries what it tried beside others: a trial at a time, drawn by the name."""
    other = furnished_lab(monkeypatch, tmp_path)
    monkeypatch.setenv("KD_CPU_SLOTS", "1")
    done(other, asked(methods=[], seeds=range(1)))
    name = study_name("fair", "none")
    tried = [[row.params for row in actions.view(name, each.workspace).trials] for each in (whole[0], other)]
    assert tried[0] == tried[1] and len(tried[0]) == TRIALS


@pytest.mark.parametrize("turns", [1, 6, 14])
def test_killed_at_any_turn_it_ends_as_undisturbed(tmp_path: Path, lab: Lab, turns: int) -> None:
    """Every controller dies, between two turns and in the middle of taking over; nothing is run twice or lost."""
    plan = asked()
    tuned.begin(plan, lab.workspace)
    for _ in range(turns):
        lab.one_turn("fair")
    lab.kill()
    tuned.resume(load_plan(lab.workspace, "fair"), lab.workspace)
    lab.until_done("fair")
    plan = load_plan(lab.workspace, "fair")
    assert [arm.name for arm in plan.arms] == ["none", "none, tuned", "byot", "byot, tuned"]
    for arm in ("none", "byot"):
        assert actions.view(study_name("fair", arm), lab.workspace).counted == TRIALS
    prints = [job.fingerprint for job in lab.runs()]
    assert len(prints) == len(set(prints))


def test_a_search_that_died_while_it_handed_over_is_taken_over(lab: Lab) -> None:
    """Its trials are done, its process is gone before it said so: no further trial is needed, and none is refused."""
    plan = asked(methods=[])
    tuned.begin(plan, lab.workspace)
    study = study_name("fair", "none")
    job = lab.studies()[0]
    while not lab.controller(actions.view(study, lab.workspace).plan).turn():
        lab.play()
    lab.store.change(job.id, set(State), state=State.LOST, reason="lost")
    assert load_plan(lab.workspace, "fair").tuned("none") is None
    assert tuned.resume(load_plan(lab.workspace, "fair"), lab.workspace) == 0
    assert load_plan(lab.workspace, "fair").tuned("none") is not None


def test_one_search_that_fails_takes_no_other_down(lab: Lab) -> None:
    plan = asked()
    tuned.begin(plan, lab.workspace)
    failing = f"study-{study_name('fair', 'byot')}"
    lab.store.change(failing, set(State), state=State.FAILED, reason="error", message="the last 5 trials failed")
    lab.until_done("fair")
    plan = load_plan(lab.workspace, "fair")
    assert [arm.name for arm in plan.arms] == ["none", "none, tuned", "byot"]
    left = next(each for each in searches(plan, lab.workspace) if each.arm == "byot")
    assert (left.state, left.message) == ("failed", "the last 5 trials failed")


def test_stopped_it_stays_so_until_it_is_taken_up(lab: Lab) -> None:
    plan = asked(methods=["byot", "cs_kd"])
    tuned.begin(plan, lab.workspace)
    for job in lab.studies():
        lab.store.change(job.id, set(State), state=State.STOPPED, reason="stopped")
    tuned.advance("fair", lab.workspace)
    assert [each.state for each in searches(plan, lab.workspace)] == ["stopped", "stopped", "waiting"]
    assert tuned.resume(plan, lab.workspace) == 2
    lab.until_done("fair")
    assert len(load_plan(lab.workspace, "fair").arms) == 6


def test_the_same_command_again_takes_nothing_away(lab: Lab) -> None:
    done(lab, asked())
    before = load_plan(lab.workspace, "fair")
    assert tuned.begin(asked(), lab.workspace) == 0
    assert queueing.begin(asked(tuning=None), lab.workspace) == 0
    assert load_plan(lab.workspace, "fair") == before
    # More seeds go to the tuned arms too.
    tuned.begin(asked(seeds=range(5)), lab.workspace)
    lab.until_done("fair")
    assert report(progress(load_plan(lab.workspace, "fair"), lab.workspace)).finished == 4 * 5


def test_an_added_arm_is_searched_too(lab: Lab) -> None:
    done(lab, asked())
    tuned.begin(extended(load_plan(lab.workspace, "fair"), 3, ["cs_kd"]), lab.workspace)
    lab.until_done("fair")
    assert [arm.name for arm in load_plan(lab.workspace, "fair").arms][-2:] == ["cs_kd", "cs_kd, tuned"]


def test_an_arm_added_by_a_plan_without_a_search_is_searched_too(lab: Lab) -> None:
    """As by the shell without --tune, or the form of the page with 0 trials."""
    done(lab, asked(methods=[]))  # no search is left whose end would begin another
    comparing.begin(asked(tuning=None), lab.workspace)
    lab.until_done("fair")
    assert [arm.name for arm in load_plan(lab.workspace, "fair").arms] == [
        *("none", "none, tuned", "byot", "byot, tuned")
    ]


def test_what_an_earlier_search_has_found_is_no_head_start(lab: Lab) -> None:
    done(lab, asked("before", methods=[], seeds=range(1)))
    done(lab, asked(methods=[], seeds=range(1)))
    origins = [row.origin for row in actions.view(study_name("fair", "none"), lab.workspace).trials]
    assert origins == ["default", *[""] * (TRIALS - 1)]


def test_what_an_arm_sets_itself_is_not_searched(lab: Lab) -> None:
    plan = asked(methods=[], arms=["warm method=byot method.temperature=7"])
    space = {each.field for each in tuned.study_plan(plan, plan.arms[-1]).searched}
    assert "method.temperature" not in space and {"recipe.lr", "method.alpha"} <= space
    assert tuned.study_plan(plan, plan.arms[-1]).experiment["method"]["temperature"] == 7


def test_arms_with_the_same_words_have_studies_of_their_own() -> None:
    names = {study_name("fair", arm) for arm in ("a b", "a-b", "a, b", "x" * 70, "x" * 71)}
    assert len(names) == 5 and all(len(name) <= 48 for name in names)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tune", "1"], "--tune: "),
        (["--tune", "0", "--tune-epochs", "0"], "--tune-epochs: "),
        (["--tune", "3", "--first-seed", "1000"], "which is the search's"),
        (["--tune", "3", "--arm", "hot method=kd method.temperature=9"], "teacher"),
    ],
)
def test_bad_input_is_said_before_anything_is_queued(
    lab: Lab, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "fair", "--methods", "byot", "--dataset", "digits", "--student", "resnet20", *words]
    assert cli.main(command) == 2
    assert said in capsys.readouterr().err
    assert not lab.store.jobs() and not list(lab.workspace.comparisons.glob("*"))


def test_a_tuned_arm_may_differ_in_nothing_but_what_is_searched() -> None:
    search = Search(arm="byot", study="s", values={"recipe.weight_decay": 0.1}, trials=2, epochs=2, validation=0.5)
    with pytest.raises(BadInput, match="weight_decay"):
        with_tuned(asked(), search)
