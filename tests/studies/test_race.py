"""A race through its queue: who stays, what is spent on what, nothing twice, whatever is killed when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mill as mills
import pytest
from mill import isolate
from test_tuned import Lab

from kdengine import cli
from kdengine.comparison.plan import SEARCH_SEED
from kdengine.comparison.stored_plans import list_plans, load_plan
from kdengine.errors import BadInput, KdError
from kdengine.jobs import Job
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies.controller import MAX_RETRIES
from studies.race import steps, words
from studies.race.plan import RacePlan, make_race
from studies.race.standing import Standing, load_race, races, standing

EPOCHS, RATE = 2, 20.0
COMMON: dict[str, Any] = {
    "data": {"name": "digits", "per_class": 20}, "student": "resnet20", "recipe": {"epochs": EPOCHS, "lr": 0.05},
}  # fmt: skip
METHODS = ("byot", "frskd", "cs_kd", "fusion_self", "ama_self", "ps_kd")
GAINS = {"byot": 0.04, "frskd": 0.06, "cs_kd": -0.02, "fusion_self": 0.02, "ama_self": 0.05, "ps_kd": -0.05}
"""Planted: frskd is best, cs_kd and ps_kd are the two that a heat of six must leave behind."""


def goodness(spec: dict[str, Any]) -> float:
    return 0.8 + GAINS.get(spec["method"]["name"], 0.0) + 0.002 * (spec["seed"] % 3)


class Stable(Lab):
    """Works off a race: its runs, its searches, and what the process of the race does at each of its turns."""

    broken: frozenset[str] = frozenset()
    reason = "out_of_memory"

    def studies(self) -> list[Job]:
        return [job for job in super().studies() if job.kind == "study"]

    def play(self) -> None:
        for job in self.runs():
            if job.method in self.broken and job.state is State.RUNNING:
                self.end(job, State.FAILED, self.reason, "it needs more memory than there is")
        super().play()

    def turn(self, race: RacePlan) -> Standing:
        for job in self.studies():
            if self.steered(job).turn():
                self.store.change(job.id, set(State), state=State.FINISHED)
        self.play()
        return steps.advance(race, self.workspace)

    def until(self, race: RacePlan, done: Any, turns: int = 500) -> Standing:
        for _ in range(turns):
            now = self.turn(race)
            if done(now):
                return now
        raise AssertionError(f"not done: {words.phase(standing(race, self.workspace))}")

    def until_over(self, race: RacePlan) -> Standing:
        return self.until(race, lambda now: now.over)


def furnished(patch: pytest.MonkeyPatch, root: Path) -> Stable:
    isolate(patch, root)
    patch.setattr(mills, "goodness", goodness)
    patch.setenv("KD_CPU_SLOTS", "2")
    # An epoch takes twenty seconds, a start nothing.
    patch.setattr(steps, "seconds_of", lambda run: RATE * run.status().get("progress", {}).get("epoch", 0))
    patch.setattr(steps, "STARTUP_S", 0.0)
    return Stable(Workspace(root))


@pytest.fixture
def stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stable:
    return furnished(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stable, Standing]]:
    """One that is over, which nobody changes."""
    with pytest.MonkeyPatch.context() as patch:
        stable = furnished(patch, tmp_path_factory.mktemp("whole"))
        now = stable.until_over(begun(stable, asked()))
        stable.store.change("race-dash", set(State), state=State.FINISHED)
        yield stable, now


def asked(name: str = "dash", **more: Any) -> RacePlan:
    given: dict[str, Any] = {"methods": METHODS, "hours": 0.15, "seeds": 3} | more
    race = make_race(name, COMMON, given["methods"], given["hours"], given["seeds"])
    return race.model_copy(update={"rates": dict.fromkeys(("none", *given["methods"]), RATE)})


def begun(stable: Stable, race: RacePlan) -> RacePlan:
    steps.begin(race, stable.workspace)
    stable.store.change(race.job_id, set(State), state=State.RUNNING)
    return load_race(race.name, stable.workspace)


def test_the_best_planted_method_wins(whole: tuple[Stable, Standing]) -> None:
    stable, now = whole
    (heat,) = now.heats
    assert set(heat.staying) == {"frskd", "ama_self", "byot", "fusion_self"}
    assert {cell.cell.seed for cell in heat.now.cells} == {SEARCH_SEED}
    assert {cell.cell.spec.recipe.epochs for cell in heat.now.cells} == {1}
    final = load_plan(stable.workspace, "dash")
    assert [arm.name for arm in final.arms] == ["none, tuned", "frskd, tuned", "ama_self, tuned", "byot, tuned"]
    assert final.seeds == (0, 1, 2)
    assert now.verdict is not None and (now.verdict.first, now.verdict.won) == ("frskd", True)
    # The mill's runs of two epochs reach three quarters of what is planted.
    assert words.sentence(now).startswith("frskd is the best way found here: +4.50 [+4.50, +4.50] points")
    # Seeds 0, 1, 2 have 0, 0.2 and 0.4 points more: the run to export is that of seed 2.
    assert now.winner is not None
    assert ExperimentSpec.from_yaml(now.winner.spec_text()).seed == 2
    fates = {row.method: row.fate for row in words.table(now)}
    assert fates == {
        "frskd": "winner", "ama_self": "in the final", "byot": "in the final", "fusion_self": "out after tuning",
        "cs_kd": "out in heat 1", "ps_kd": "out in heat 1", "none": "measured against",
    }  # fmt: skip


def test_every_survivor_and_the_student_alone_are_searched_for_equally_long(whole: tuple[Stable, Standing]) -> None:
    _, now = whole
    assert now.tuning is not None and now.tuning.tuning is not None
    searched = [arm.search for arm in now.tuning.arms if arm.search is not None]
    assert {search.arm for search in searched} == {"none", *now.heats[0].staying}
    most = now.tuning.tuning.epochs
    assert most is not None and most >= 2 * EPOCHS
    assert {search.epochs // EPOCHS for search in searched} == {-(-most // EPOCHS)}


def test_the_final_has_seen_none_of_its_seeds_before(whole: tuple[Stable, Standing]) -> None:
    stable, _ = whole
    runs = [ExperimentSpec.from_yaml(stable.workspace.run(job.id).spec_text()) for job in stable.runs()]
    of_final = {spec.seed for spec in runs if spec.title.startswith("dash: ")}
    assert of_final == {0, 1, 2}
    assert {spec.seed for spec in runs if not spec.title.startswith("dash: ")} == {SEARCH_SEED}
    fingerprints = Counter(job.fingerprint for job in stable.runs() if not job.id.startswith("dash-"))
    assert set(fingerprints.values()) == {1}


def test_few_hours_leave_the_search_out_and_the_best_of_the_heat_are_confirmed(stable: Stable) -> None:
    now = stable.until_over(begun(stable, asked(hours=0.12)))
    assert now.tuning is not None and now.tuning.tuning is None
    assert [arm.name for arm in load_plan(stable.workspace, "dash").arms] == ["none", "frskd", "ama_self", "byot"]
    assert now.verdict is not None and now.verdict.first == "frskd"


def test_hours_that_cannot_be_enough_are_refused_before_anything_is_made(stable: Stable) -> None:
    # Heat: an epoch of 7 at 20 s; final: 3 seeds of 2 epochs of 4: 620 s of runs, 310 s on two slots.
    with pytest.raises(BadInput, match=r"hours: found 0.08, expected at least 0.086: .* about 5 min") as error:
        steps.begin(asked(hours=0.08), stable.workspace)
    assert len(error.value.problems) == 1
    assert races(stable.workspace) == [] and stable.store.jobs() == []


def test_few_methods_run_no_heat(stable: Stable) -> None:
    now = stable.until_over(begun(stable, asked(methods=("byot", "frskd"))))
    assert now.heats == ()
    arms = [arm.name for arm in load_plan(stable.workspace, "dash").arms]
    assert arms == ["none, tuned", "frskd, tuned", "byot, tuned"]


@pytest.mark.parametrize("after", [3, 9, 20])
def test_killed_at_any_time_nothing_is_lost_and_nothing_run_twice(stable: Stable, after: int) -> None:
    race = begun(stable, asked())
    for _ in range(after):
        stable.turn(race)
    stable.kill()
    for job in stable.runs():
        if not job.state.ended and job.state is not State.QUEUED:
            stable.end(job, State.LOST, "lost")
    steps.take_up(race, stable.workspace)
    now = stable.until_over(race)
    assert now.verdict is not None and (now.verdict.first, now.verdict.won) == ("frskd", True)
    fingerprints = Counter(job.fingerprint for job in stable.runs() if not job.id.startswith("dash-"))
    assert set(fingerprints.values()) == {1}
    assert list_plans(stable.workspace) == ["dash"]


@pytest.mark.parametrize("stage", ["heats", "tuning", "final"])
def test_stopped_it_begins_nothing_and_goes_on_where_it_was(stable: Stable, stage: str) -> None:
    race = begun(stable, asked())
    stable.until(race, lambda now: bool(getattr(now, stage)))
    stable.turn(race)
    assert steps.stop(race, stable.workspace) > 0
    for _ in range(3):
        stable.play()
        for job in stable.studies():
            stable.steered(job).stop()
            stable.store.change(job.id, set(State), state=State.STOPPED)
    under_way = [job for job in stable.store.jobs() if not job.state.ended and job.kind != "race"]
    assert under_way == []
    steps.take_up(race, stable.workspace)
    stable.alive.clear()
    now = stable.until_over(race)
    assert now.verdict is not None and now.verdict.first == "frskd"


def test_a_method_that_fails_is_out_with_its_reason_and_the_race_goes_on(stable: Stable) -> None:
    stable.broken = frozenset({"frskd"})
    now = stable.until_over(begun(stable, asked()))
    assert now.verdict is not None and now.verdict.first == "ama_self"
    assert {row.method: row.fate for row in words.table(now)}["frskd"] == "it needs more memory than there is"


@pytest.mark.parametrize("stage", ["heats", "final"])
def test_a_run_whose_process_dies_is_tried_again_and_its_method_stays(stable: Stable, stage: str) -> None:
    race = begun(stable, asked())
    at_work = {State.RUNNING}
    stable.until(race, lambda now: getattr(now, stage) and any(job.state in at_work for job in stable.runs()))
    dead = [job for job in stable.runs() if job.state in at_work]
    for job in dead:
        stable.end(job, State.FAILED, "killed")
    now = stable.until_over(race)
    assert not now.heats[0].dropped and now.final is not None
    assert now.final.count("finished") == len(now.final.cells)
    assert {stable.store.get(job.id).attempt for job in dead} == {2}


def test_a_run_that_dies_each_time_is_out_in_the_end(stable: Stable) -> None:
    stable.broken, stable.reason = frozenset({"frskd"}), "killed"
    now = stable.until_over(begun(stable, asked()))
    assert now.heats[0].dropped == {"frskd": "it needs more memory than there is"}
    assert {job.attempt for job in stable.runs() if job.method == "frskd"} == {MAX_RETRIES + 1}


def test_a_search_that_somebody_stops_is_out_and_the_others_go_on(stable: Stable) -> None:
    race = begun(stable, asked())
    stable.until(race, lambda now: any(job.id == "study-dash-frskd" for job in stable.studies()))
    stable.steered(stable.store.get("study-dash-frskd")).stop()
    stable.store.change("study-dash-frskd", set(State), state=State.STOPPED)
    now = stable.until_over(race)
    assert now.verdict is not None and now.verdict.first == "ama_self"
    assert {row.method: row.fate for row in words.table(now)}["frskd"] == "stopped"


def test_without_the_student_alone_there_is_no_race(stable: Stable) -> None:
    stable.broken = frozenset({"none"})
    race = begun(stable, asked())
    with pytest.raises(KdError, match="the student alone, which all are measured against, has not finished"):
        stable.until_over(race)


def test_where_nothing_helps_no_winner_is_named(stable: Stable, monkeypatch: pytest.MonkeyPatch) -> None:
    def alike(spec: dict[str, Any]) -> float:
        luck = {"byot": (1, -1, 0), "frskd": (0, 1, -1)}.get(spec["method"]["name"], (0, 0, 0))
        return 0.8 + 0.002 * luck[spec["seed"] % 3]

    monkeypatch.setattr(mills, "goodness", alike)
    now = stable.until_over(begun(stable, asked()))
    assert now.verdict is not None and not now.verdict.won
    assert words.sentence(now).startswith("No method is shown to be better than the student alone: ")
    assert not any(row.fate == "winner" for row in words.table(now))


def test_two_races_do_not_meet(stable: Stable) -> None:
    first, second = begun(stable, asked("one")), begun(stable, asked("two", methods=("byot", "ama_self"), seeds=2))
    for _ in range(200):
        ends = [stable.turn(race) for race in (first, second)]
        if all(end.over for end in ends):
            break
    assert [end.verdict.first for end in ends if end.verdict] == ["frskd", "ama_self"]
    assert sorted(list_plans(stable.workspace)) == ["one", "two"]


def test_the_same_command_again_changes_nothing_and_another_race_of_that_name_is_refused(stable: Stable) -> None:
    race = begun(stable, asked())
    stable.turn(race)
    before = len(stable.store.jobs())
    steps.begin(asked(), stable.workspace)
    assert len(stable.store.jobs()) == before
    with pytest.raises(BadInput, match="there is a race 'dash' already, with other methods, hours"):
        steps.begin(asked(methods=("byot",), hours=7.0), stable.workspace)


def test_a_name_that_a_comparison_has_is_refused(stable: Stable) -> None:
    from kdengine.comparison.plan import make_plan
    from kdengine.comparison.stored_plans import save_plan

    save_plan(make_plan("dash", COMMON, ["byot"], (0,)), stable.workspace)
    with pytest.raises(BadInput, match="there is a comparison 'dash' already"):
        steps.begin(asked(), stable.workspace)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadInput) as error:
        make_race("no/name", COMMON, ["kd", "nonsense"], -1.0, 1)
    text = str(error.value)
    assert all(word in text for word in ("no/name", "nonsense", "hours", "seeds"))


def test_the_shell_shows_lists_and_says_what_is_missing(
    whole: tuple[Stable, Standing], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_HOME", str(whole[0].workspace.root))
    assert cli.main(["race", "dash"]) == 0
    out = capsys.readouterr().out
    assert "frskd is the best way found here" in out and "kd export " in out
    assert cli.main(["race", "dash", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["methods"][0]["method"] == "frskd" and found["run"] is not None
    assert cli.main(["race"]) == 0
    assert "dash" in capsys.readouterr().out
    assert cli.main(["race", "other"]) == 2
    assert "there is no race 'other'; there are: dash" in capsys.readouterr().err
    assert cli.main(["race", "new", "--methods", "byot"]) == 2
    assert "--hours" in capsys.readouterr().err
