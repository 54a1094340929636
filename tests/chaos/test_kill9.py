"""kill -9 at random moments: every run ends or resumes, with weights equal, bit for bit, to an undisturbed run's."""

from __future__ import annotations

import json
import platform
import random
from pathlib import Path

import pytest
from world import EPOCHS, STEPS, Moment, Round, Undisturbed, World, as_rows, tiny_spec

from kdengine.jobs import ensure_supervisor
from kdengine.workspace.states import State

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
COMMAND = "python -m pytest -m long tests/chaos"
LONG_ROUNDS = 10
VICTIMS = ("trainer", "supervisor", "page server")


def check(world: World, undisturbed: Undisturbed, run_id: str, done: Round) -> None:
    assert {"last_sha256": done.last_sha256, "student_sha256": done.student_sha256} == undisturbed.digests
    world.check_agreement(run_id)
    expected = 1 if done.victim == "trainer" and done.killed else 0
    assert (done.resumes, done.attempts) == (expected, expected + 1), world.story(run_id)


@pytest.mark.parametrize("number", [1, 2])
def test_each_is_killed_once_in_a_run(world: World, undisturbed: Undisturbed, number: int) -> None:
    generator = random.Random(f"in CI, {number}")
    moments = {victim: Moment.draw(generator) for victim in VICTIMS}
    killed, resumes = world.play_all("run", moments)
    assert killed["page server"] and killed["supervisor"], "they do not go by themselves"
    assert world.digests("run") == undisturbed.digests
    world.check_agreement("run")
    assert resumes == int(killed["trainer"]), world.story("run")


def test_a_student_waits_for_its_teacher_also_without_a_supervisor(world: World) -> None:
    teacher = tiny_spec(seed=1).model_dump(mode="json")
    first, second = world.launch("taught", tiny_spec(method="kd", teacher={"spec": teacher}, student="resnet20"))
    assert (second.id, second.after) == ("taught", first.id)
    world.wait(lambda: world.last_step(first.id) >= 2, "the teacher trains")
    assert world.store.get("taught").state is State.QUEUED
    assert world.kill("supervisor", first.id)
    world.wait(lambda: world.workspace.run(first.id).state() is State.FINISHED, "the teacher finishes unattended")
    assert world.store.get("taught").state is State.QUEUED and world.last_step("taught") == 0
    ensure_supervisor(world.workspace)
    assert world.finish("taught") == 0 and world.finish(first.id) == 0
    for job_id in (first.id, "taught"):
        world.check_agreement(job_id)
    assert world.workspace.run("taught").status()["teacher_run"] == first.id
    assert (world.store.get("taught").started or 0) >= (world.store.get(first.id).ended or 0)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_kills_of_each_with_a_report(world: World, undisturbed: Undisturbed) -> None:
    generator = random.Random("the long test")
    rounds: dict[str, Round] = {}
    for number in range(1, LONG_ROUNDS + 1):
        for victim in VICTIMS:  # in turn: all meet the same state of the machine
            run_id = f"{victim.replace(' ', '-')}-{number}"
            rounds[run_id] = world.play(victim, run_id, Moment.draw(generator))
            write_report(list(rounds.values()), undisturbed)  # before it is judged: what speaks against us is seen too
    for run_id, done in rounds.items():
        check(world, undisturbed, run_id, done)
    assert sum(done.killed for done in rounds.values()) >= len(VICTIMS) * LONG_ROUNDS - 3, (
        "victims had gone by themselves"
    )


def write_report(rounds: list[Round], undisturbed: Undisturbed) -> None:
    """``kill9.json`` and ``kill9.md``: each round, and that its weights are those of the undisturbed run."""
    head = {
        "command": COMMAND,
        "run": f"digits 16 px, 20 images a class, resnet8, {EPOCHS} epochs, {STEPS} steps, EMA",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "undisturbed": undisturbed.digests,
    }
    rows = [row | {"equal": row["last_sha256"] == undisturbed.digests["last_sha256"]} for row in as_rows(rounds)]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "kill9.json").write_text(json.dumps(head | {"rounds": rows}, indent=2) + "\n")
    lines = [
        "# kill -9 at random moments",
        "",
        f"`{COMMAND}` on {head['machine']}: {head['run']}.",
        "",
        "Each round launches the same run under the real supervisor, kills one process at a seeded random moment, and",
        "sees the run to its end: a killed trainer is resumed, a killed supervisor or page server started again. The",
        f"weights of its last epoch (`{undisturbed.digests['last_sha256'][:16]}...`) are compared with those of",
        "an undisturbed run.",
        "",
        "| round | victim | killed while | epoch | step | resumed | attempts | end | weights equal |",
        "| ---: | --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        phase = row["phase"] if row["killed"] else f"{row['phase']} (too late: it had gone)"
        cells = [row["round"], row["victim"], phase, row["epoch"], row["step"], row["resumes"], row["attempts"]]
        lines.append(f"| {' | '.join(map(str, [*cells, row['state'], 'yes' if row['equal'] else 'NO']))} |")
    (RESULTS / "kill9.md").write_text("\n".join(lines) + "\n")
