"""``kd race``: find the best method for one's own data, teacher and student within some hours."""

from __future__ import annotations

import argparse
import sys
import time

from kdengine.commands import train
from kdengine.commands.console import waiting
from kdengine.commands.tables import show, show_json
from kdengine.errors import BadInput, Problem
from kdengine.jobs import JobStore
from kdengine.jobs.placement import slots
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies.race import plan, words
from studies.race.plan import SEEDS, RacePlan, make_race
from studies.race.standing import Standing, load_race, races, standing

LOOK_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd race``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the race; alone: shows how it stands")
    parser.add_argument("--hours", type=float, metavar="H", help="that it may take on this machine; begins a race")
    parser.add_argument("--methods", metavar="A,B,C", help="methods that begin (default: all that go with the pair)")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N",
                        help=f"fresh seeds of each finalist (default {SEEDS}; fewer in few hours)")  # fmt: skip
    train.add_experiment(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would happen and how long it takes, and stop")
    parser.add_argument("--queue", action="store_true", help="return at once instead of waiting for the end")
    parser.add_argument("--resume", action="store_true", help="take it up again where it was stopped, lost or failed")
    parser.add_argument("--stop", action="store_true", help="stop its runs with a checkpoint")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Begins, shows, stops or resumes a race; without a name, lists them."""
    workspace = Workspace()
    match options.names:
        case [plan.CONTROL, job_id]:
            return _control(workspace, job_id)
        case []:
            if options.hours is not None:
                raise BadInput(Problem("race", "give it a name: kd race NAME --hours 2"))
            return _list(workspace)
        case [name]:
            return _of_one(name, options, workspace)
        case _:
            raise BadInput(Problem("race", f"found {len(options.names)} names, expected one"))


def _of_one(name: str, options: argparse.Namespace, workspace: Workspace) -> int:
    if options.hours is not None:
        race = _asked(name, options, workspace)
        if options.dry_run:
            return 0
        from studies.race import steps

        steps.begin(race, workspace)
        return _go_on(name, options, workspace)
    if options.methods or options.dry_run or options.spec or options.dataset:
        raise BadInput(Problem("--hours", "found none; a race needs to know when to end, e.g. --hours 2"))
    race = load_race(name, workspace)
    if options.stop:
        JobStore(workspace).request_stop(race.job_id)
        sys.stderr.write(f"{name}: stops; `kd race {name} --resume` takes it up again\n")
        return 0
    if options.resume:
        from studies.race import steps

        steps.resume(race, workspace)
        return _go_on(name, options, workspace)
    return _show(standing(race, workspace), options.json)


def _asked(name: str, options: argparse.Namespace, workspace: Workspace) -> RacePlan:
    """The race with the cost of each method, which was said on stderr."""
    from studies.race import entrants

    mapping = train.read_mapping(options)
    if options.methods:
        asked = [each.strip() for each in options.methods.split(",") if each.strip()]
    else:
        asked, left_out = entrants.all_that_go(mapping, workspace)
        sys.stderr.writelines(f"kd: {method} is left out: {why}\n" for method, why in left_out.items())
    race = make_race(name, mapping, asked, options.hours, options.seeds)
    if name in races(workspace) and not options.dry_run:
        return race
    with waiting() as report:
        race = entrants.weighed(race, workspace, lambda method: report(f"measuring what {method} costs"))
    lines = [*words.course_of(race), words.estimate(race, slots(workspace))]
    sys.stderr.writelines(f"{line}\n" for line in lines)
    return race


def _go_on(name: str, options: argparse.Namespace, workspace: Workspace) -> int:
    from kdengine.jobs import ensure_supervisor

    ensure_supervisor(workspace)
    if options.queue:
        sys.stdout.write(f"{name}\n")
        return 0
    race = load_race(name, workspace)
    try:
        with waiting() as report:
            while not JobStore(workspace).get(race.job_id).state.ended:
                ensure_supervisor(workspace)
                report(f"{name}: {words.phase(standing(race, workspace))}")
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        sys.stderr.write(f"The race goes on; `kd race {name}` shows how it stands.\n")
        raise
    return _show(standing(race, workspace), options.json)


def _show(now: Standing, json: bool) -> int:
    failed = now.state in (State.FAILED, State.LOST)
    if json:
        found = {"name": now.race.name, "state": now.state, "phase": words.phase(now), "result": words.sentence(now)}
        run = now.winner
        show_json(found | {"run": run.id if run else None, "methods": [row._asdict() for row in words.table(now)]})
        return 3 if failed else 0
    titles = ["method", *(f"heat {number + 1}" for number in range(len(now.race.heats)))]
    show((*titles, "tuned", "test", "minus alone", "outcome"), [row.cells for row in words.table(now)])
    sys.stdout.write(f"{now.race.name}: {now.state}, {words.phase(now)}{f': {now.message}' if failed else ''}\n")
    if said := words.sentence(now):
        sys.stdout.write(f"{said}\n")
    if now.winner is not None:
        sys.stdout.write(f"kd export {now.winner.id}\nkd compare {now.race.name}\n")
    return 3 if failed else 0


def _list(workspace: Workspace) -> int:
    names = races(workspace)
    if not names:
        sys.stdout.write("There is none yet. `kd race NAME --hours 1 --teacher resnet8x4` begins one.\n")
        return 0
    found = [standing(load_race(name, workspace), workspace) for name in names]
    show(("race", "state", "", "result"), [
        (now.race.name, str(now.state), words.phase(now), words.sentence(now)) for now in found
    ])  # fmt: skip
    return 0


def _control(workspace: Workspace, job_id: str) -> int:
    from studies.race.process import control

    control(workspace, job_id)
    return 0
