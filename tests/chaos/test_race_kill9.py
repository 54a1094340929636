"""kill -9 of all there is, at random moments of a race and of a tuned comparison: nothing is lost or run twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hunting import hunt
from world import World

from kdengine.comparison.plan import Tuning, make_plan
from kdengine.comparison.progress import progress
from kdengine.comparison.searches import FOUND, searches
from kdengine.comparison.stored_plans import load_plan
from kdengine.workspace.states import State
from studies import actions, comparing
from studies.race import steps
from studies.race.plan import make_race
from studies.race.standing import load_race, standing

KILLS = 20
EPOCHS = 2
COMMON: dict[str, Any] = {
    "data": {"name": "digits", "per_class": 20},
    "student": "resnet8",
    "recipe": {"epochs": EPOCHS, "batch_size": 32},
    "runtime": {"threads": 1, "device": "cpu", "workers": 1},
}


@pytest.fixture(autouse=True)
def images_stay_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that processes read them for the training, as they do for data too large to stay on the device."""
    monkeypatch.setenv("KD_RESIDENT_MB", "0")


def check_once(world: World, search: set[str]) -> None:
    """Every experiment outside the searches has one run, and every run has ended well."""
    jobs = [job for job in world.store.jobs() if not job.is_controller]
    of_search = [job for job in jobs if world.workspace.run(job.id).status().get("study") in search]
    twice = Counter(job.fingerprint for job in jobs if job not in of_search)
    assert set(twice.values()) == {1}, world.story()
    assert {job.state for job in jobs} <= {State.FINISHED, State.PRUNED}, world.story()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_kills_in_a_race(world: World) -> None:
    race = make_race("hunted", COMMON, ["byot", "frskd", "cs_kd", "tf_kd", "ps_kd"], hours=0.1, seeds=2)
    race = race.model_copy(update={"rates": dict.fromkeys(("none", *race.methods), 5.0)})
    killed = hunt(
        world, lambda: steps.begin(race, world.workspace), lambda: world.store.get("race-hunted").state.ended, KILLS,
        "race", longest_s=6.0,
    )  # fmt: skip
    assert len(killed) >= KILLS // 2
    now = standing(load_race("hunted", world.workspace), world.workspace)
    assert now.state is State.FINISHED and now.verdict is not None, world.story()
    assert len(now.heats[0].accuracy) == 6 and not now.heats[0].dropped
    assert now.final is not None and now.final.count("finished") == len(now.final.cells) == 8
    check_once(world, {f"study-{each.study}" for each in now.searches})


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_kills_in_a_tuned_comparison(world: World) -> None:
    plan = make_plan("fair", COMMON, ["byot"], range(2), cutmix=False, tuning=Tuning(trials=4))

    def over() -> bool:
        now = load_plan(world.workspace, "fair")
        busy = any(each.under_way for each in searches(now, world.workspace))
        return not busy and not progress(now, world.workspace).under_way

    killed = hunt(world, lambda: comparing.begin(plan, world.workspace), over, KILLS, "fair", longest_s=6.0)
    assert len(killed) >= KILLS // 2
    # A run of a comparison that was killed is taken up by whoever asks for it, as any run is.
    comparing.resume("fair", world.workspace)
    world.wait(over, "the end of what was resumed")
    now = load_plan(world.workspace, "fair")
    found = searches(now, world.workspace)
    assert {each.state for each in found} == {FOUND}, world.story()
    assert [arm.name for arm in now.arms] == ["none", "none, tuned", "byot", "byot, tuned"]
    for each in found:
        assert actions.view(each.study, world.workspace).counted == 4
    assert progress(now, world.workspace).count("finished") == len(now.cells) == 8
    check_once(world, {f"study-{each.study}" for each in found})
