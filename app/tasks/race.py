"""For the Race page: what its methods cost is measured, and it begins."""

from __future__ import annotations

from typing import Any

from kdengine.workspace import Workspace


def weigh_race(
    workspace: Workspace, name: str, mapping: dict[str, Any], methods: list[str], hours: float, seeds: int
) -> tuple[dict[str, Any], list[str]]:
    """The race with what each method costs, and what will happen and who is left out, in sentences.

    Without methods all that go with these networks begin. BadInput names every problem of every method.
    """
    from kdengine.jobs.placement import slots
    from studies.race import entrants, words
    from studies.race.plan import make_race

    going, left_out = (methods, {}) if methods else entrants.all_that_go(mapping, workspace)
    race = entrants.weighed(make_race(name, mapping, going, hours, seeds), workspace)
    lost = [f"Left out: {method}: {why}" for method, why in left_out.items()]
    said = [*words.course_of(race), words.estimate(race, slots(workspace)), *lost]
    return race.model_dump(mode="json"), said


def begin_race(workspace: Workspace, weighed: dict[str, Any]) -> None:
    """Begins it; BadInput names every problem."""
    from kdengine.jobs import ensure_supervisor
    from studies.race import steps
    from studies.race.plan import RacePlan

    steps.begin(RacePlan.model_validate(weighed), workspace)
    ensure_supervisor(workspace)
