"""``kd study``: everything that the Studies page does, from a shell."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kdengine.commands import train
from kdengine.commands.console import waiting
from kdengine.commands.tables import show_json
from kdengine.errors import BadInput, Problem
from kdengine.workspace import Workspace
from studies import words

if TYPE_CHECKING:
    from studies.plan import Budget, StudyPlan
    from studies.trials import StudyView
from studies.shell_tables import print_confirmation, print_space, print_studies, print_study

POLL_S = 2.0
AT_WORK = ("queued", "starting", "running", "stopping")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-commands of ``kd study``."""
    places = parser.add_subparsers(metavar="<what>", dest="what")

    new = places.add_parser("new", help="start a study: kd study new NAME --ready dcad, or as kd train with --tune")
    new.add_argument("name", metavar="NAME")
    _add_plan(new)
    new.add_argument("--queue", action="store_true", help="return at once instead of waiting for the end")

    space = places.add_parser("space", help="hyper-parameters of an experiment that can be tuned, with ranges")
    train.add_experiment(space)
    space.add_argument("--method", metavar="NAME")

    shows = places.add_parser("show", help="progress of a study: best, default, trials")
    shows.add_argument("name", metavar="NAME")
    shows.add_argument("--json", action="store_true", help="print JSON")

    resume = places.add_parser("resume", help="resume a study, or extend it: --trials 40")
    resume.add_argument("name", metavar="NAME")
    _add_budget(resume)
    resume.add_argument("--queue", action="store_true", help="return at once instead of waiting for the end")

    stop = places.add_parser("stop", help="stop its runs with a checkpoint, or start no further trial")
    stop.add_argument("name", metavar="NAME")
    stop.add_argument("--after-current", action="store_true", help="let the current trials finish")

    _add_trials(places)
    control = places.add_parser("control")
    control.add_argument("job")


def _add_trials(places: Any) -> None:
    """Commands about single trials, and about what a study ends in."""
    hand = places.add_parser("try", help="add a trial by hand: kd study try NAME method.temperature=2")
    hand.add_argument("name", metavar="NAME")
    hand.add_argument("values", nargs="+", metavar="PATH=VALUE")

    note = places.add_parser("note", help="note a sentence at a trial: kd study note NAME 7 'too hot'")
    note.add_argument("name", metavar="NAME")
    note.add_argument("trial", type=int, metavar="K")
    note.add_argument("note", nargs="?", default="", metavar="TEXT", help="without one, the note is taken away")

    confirm = places.add_parser("confirm", help="train best values and defaults again, with fresh seeds")
    confirm.add_argument("name", metavar="NAME")
    confirm.add_argument("--seeds", type=int, default=5, metavar="N", help="fresh seeds (default 5)")
    confirm.add_argument("--trial", type=int, metavar="K", help="confirm this trial, not the best")
    confirm.add_argument("--queue", action="store_true", help="return at once instead of waiting for the end")
    confirm.add_argument("--json", action="store_true", help="print JSON")

    promote = places.add_parser("promote", help="print the experiment with the best values, for kd train --spec FILE")
    promote.add_argument("name", metavar="NAME")
    promote.add_argument("--trial", type=int, metavar="K", help="use this trial, not the best")

    delete = places.add_parser("delete", help="delete a study with all its runs")
    delete.add_argument("name", metavar="NAME")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    train.add_experiment(parser)
    parser.add_argument("--method", metavar="NAME", help="kd list methods; default kd with a teacher, none without")
    parser.add_argument("--ready", metavar="NAME", help="start from a ready-made one: kd, dkd, dcad, grkd...")
    parser.add_argument("--tune", action="append", default=[], metavar="PATH[=RANGE]",
                        help="search only the hyper-parameters named so: method.temperature, recipe.lr=0.01..0.2,log, "
                        "method.kind=correlation,gram; default: the method's main settings")  # fmt: skip
    parser.add_argument("--fix", action="append", default=[], metavar="PATH", help="do not search this")
    parser.add_argument("--metrics", metavar="A,B",
                        help="accuracy (default), loss or ece; then latency_ms, parameters, macs")  # fmt: skip
    parser.add_argument("--sampler", metavar="NAME", help="tpe (default), random, grid, cmaes, gp")
    parser.add_argument("--pruner", metavar="NAME", help="median (default), hyperband, none")
    parser.add_argument("--startup", type=int, metavar="N", help="trials before pruning begins (default 5)")
    parser.add_argument("--patience", type=int, metavar="N", help="epochs before a trial may be pruned (default 1)")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds per trial; their mean counts (default 1)")
    parser.add_argument("--parallel", type=int, metavar="N", help="runs at once (default: as many as slots)")
    parser.add_argument("--limit", action="append", default=[], metavar="COST=MAX",
                        help="largest latency_ms, parameters or macs of the student")  # fmt: skip
    _add_budget(parser)


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, metavar="N", help="number of complete or pruned trials (default 20)")
    parser.add_argument("--hours", type=float, metavar="H", help="of running time; pauses do not count")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help="summed over all runs")


def main(options: argparse.Namespace) -> int:
    """Does what the sub-command says; without one, lists the studies."""
    from studies import actions as control
    from studies import confirm

    workspace = Workspace()
    match options.what:
        case None:
            return print_studies(workspace)
        case "control":
            return _control(workspace, options.job)
        case "space":
            return print_space(options)
        case "new":
            plan = _plan(options)
            control.begin(plan, workspace)
            return _go_on(plan.name, workspace, options.queue)
        case "resume":
            now = control.view(options.name, workspace)
            control.resume(options.name, workspace, _budget(options, now.plan.budget))
            return _go_on(options.name, workspace, options.queue)
        case "show":
            return print_study(control.view(options.name, workspace), workspace, options.json)
        case "note":
            control.annotate(options.name, options.trial, options.note, workspace)
            return 0
        case "stop":
            control.view(options.name, workspace)
            if options.after_current:
                control.stop_after_current(options.name, workspace)
            else:
                control.stop_now(options.name, workspace)
                _supervise(workspace)
            return 0
        case "try":
            return _try(options, workspace)
        case "confirm":
            return _confirm(options, workspace)
        case "promote":
            from kdengine.spec import ExperimentSpec

            mapping = confirm.spec_of(control.view(options.name, workspace), options.trial)
            sys.stdout.write(ExperimentSpec.from_mapping(mapping).to_yaml())
            return 0
        case "delete":
            control.delete(options.name, workspace)
            return 0
    raise AssertionError(f"kd study {options.what} does nothing yet")  # and certainly deletes nothing


# reading the options --------------------------------------------------------------------------------------------------
def _plan(options: argparse.Namespace) -> StudyPlan:
    from kdengine.spec import merge
    from studies import plan, ready_made, space

    mapping: dict[str, Any] = ready_made.load(options.ready) if options.ready else {}
    named = _experiment(options, bool(options.ready))
    mapping["experiment"] = merge(mapping["experiment"], named) if options.ready else named
    mapping["name"] = options.name
    for name in ("sampler", "pruner", "parallel", "startup", "patience"):
        if getattr(options, name) is not None:
            mapping[name] = getattr(options, name)
    if options.metrics:
        mapping["metrics"] = [name.strip() for name in options.metrics.split(",") if name.strip()]
    if options.seeds is not None:
        if options.seeds < 1:
            raise BadInput(Problem("--seeds", f"found {options.seeds}, expected 1 or more"))
        mapping["seeds"] = list(range(options.seeds))
    if options.limit:
        mapping["limits"] = {name: _number(name, text) for name, text in map(_pair, options.limit)}
    budget = _budget(options)
    if budget is not None:
        mapping["budget"] = budget.model_dump()
    if options.tune:
        mapping["space"] = dict(map(_pair, options.tune))
    made = plan.read(mapping)
    if not options.fix:
        return made
    dimensions = space.edited(made.space, {}, options.fix)
    return plan.read(made.model_dump(mode="json") | {"space": [each.model_dump(mode="json") for each in dimensions]})


def _experiment(options: argparse.Namespace, changes_only: bool) -> dict[str, Any]:
    named = {"method": {"name": options.method}} if options.method else {}
    mapping = train.read_mapping(options, named)
    if changes_only and not options.method and not any(text.startswith("method") for text in options.changes):
        mapping.pop("method", None)  # the one that stands in for none was named
    return mapping


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadInput(Problem("--limit", f"found {name}={text}, expected a number, e.g. latency_ms=2")) from error


def _budget(options: argparse.Namespace, before: Budget | None = None) -> Budget | None:
    """The requested budget; None where no option was given. What is not named stays as it was before."""
    from pydantic import ValidationError

    from studies.plan import Budget

    named = {"trials": options.trials, "hours": options.hours, "job_hours": options.gpu_hours}
    given = {name: value for name, value in named.items() if value is not None}
    if not given:
        return None
    known = before.model_dump() if before is not None else {"trials": None}
    try:
        return Budget.model_validate(known | given)
    except ValidationError as error:
        raise BadInput([Problem(f"--{item['loc'][0]}", item["msg"]) for item in error.errors()]) from error


# acting ---------------------------------------------------------------------------------------------------------------
def _control(workspace: Workspace, job_id: str) -> int:
    import logging

    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    from studies.process import control

    control(workspace, job_id)
    return 0


def _supervise(workspace: Workspace) -> None:
    from kdengine.jobs import ensure_supervisor

    ensure_supervisor(workspace)


def _go_on(name: str, workspace: Workspace, queue: bool) -> int:
    """Makes sure that a supervisor runs, and waits for the end unless ``queue``."""
    from studies import actions as control

    _supervise(workspace)
    if queue:
        sys.stdout.write(f"study {name} is running; kd study show {name} shows its progress\n")
        return 0
    try:
        with waiting() as report:
            while control.state_of((now := control.view(name, workspace)).plan, workspace) in AT_WORK:
                _supervise(workspace)
                report(_line(now))
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"The study continues: kd study show {name} shows its progress, kd study stop {name} ends it.\n"
        )
        raise
    now = control.view(name, workspace)
    print_study(now, workspace, False)
    return 0 if control.state_of(now.plan, workspace) == "finished" else 3


def _line(now: StudyView) -> str:
    best = f", best {words.trial_value(now, now.best)}" if now.best else ""
    return f"{now.plan.name}: {now.counted} of {now.plan.budget.trials or '?'} trials{best}"


def _try(options: argparse.Namespace, workspace: Workspace) -> int:
    from studies import actions as control
    from studies import space

    control.enqueue(options.name, space.read_values(options.values), workspace)
    now = control.view(options.name, workspace)
    if control.state_of(now.plan, workspace) not in AT_WORK:
        most = (now.plan.budget.trials or now.counted) + 1
        sys.stdout.write(f"Queued; kd study resume {options.name} --trials {max(most, now.counted + 1)} runs it.\n")
    return 0


def _confirm(options: argparse.Namespace, workspace: Workspace) -> int:
    from studies import actions as control
    from studies import confirm

    now = control.view(options.name, workspace)
    plan = confirm.plan_for(now, options.seeds, options.trial)
    confirm.begin(now, workspace, options.seeds, options.trial)
    _supervise(workspace)
    found = confirm.read(now, plan, workspace)
    if not options.queue:
        with waiting() as report:
            while found.under_way:
                _supervise(workspace)
                report(f"{options.name}: {found.finished} of {found.total} confirmation runs finished")
                time.sleep(POLL_S)
                found = confirm.read(now, plan, workspace)
    if options.json:
        show_json(asdict(found) | {"plan": plan.name})
    else:
        print_confirmation(found)
    return 0 if options.queue or found.finished == found.total else 3
