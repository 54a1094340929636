"""``kd compare``: methods x seeds under one recipe, as jobs; mean, spread, gain over the student alone, verdict."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kdengine.commands import train
from kdengine.commands.console import waiting
from kdengine.commands.tables import show, show_json
from kdengine.comparison.plan import Plan, candidates, make_plan, tuning_of
from kdengine.comparison.progress import Progress, progress, unmeasured
from kdengine.comparison.report import Report, report
from kdengine.comparison.searches import FOUND, ArmSearch, searches
from kdengine.comparison.stored_plans import list_plans, load_plan
from kdengine.comparison.tables import FORMATS, SUFFIXES, columns, notes, rows
from kdengine.errors import BadInput, KdError, Problem
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import comparing

LOOK_S = 1.0
ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd compare``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the comparison; alone: shows how it stands")
    parser.add_argument("--methods", metavar="A,B,C", help="methods to compare (kd list methods), or all")
    parser.add_argument("--arm", action="append", default=[], metavar="'NAME PATH=VALUE ...'", dest="arms",
                        help="one more arm, e.g. 'dkd b2 method=dkd method.beta=2'; may be repeated")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of each arm (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="K", help="the seeds are K, K+1, ... (default 0)")
    parser.add_argument("--tune", type=int, metavar="N",
                        help="search every arm's settings with N trials first, and compare those too")  # fmt: skip
    parser.add_argument("--tune-epochs", type=int, metavar="N",
                        help="the same, until the trials of an arm have trained N epochs together")  # fmt: skip
    parser.add_argument("--no-cutmix", action="store_true",
                        help="leave out the baseline of the student alone with CutMix")  # fmt: skip
    train.add_experiment(parser)
    parser.add_argument("--queue", action="store_true", help="queue the runs and return; else wait for all")
    parser.add_argument("--resume", action="store_true", help="queue again what was stopped, lost or failed")
    parser.add_argument("--format", choices=("text", "json", *FORMATS), default="text", help="default text")
    parser.add_argument("--out", metavar="FILE", help="write the table to a file instead")


def main(options: argparse.Namespace) -> int:
    """Begins, continues or shows a comparison."""
    workspace = Workspace()
    begun = bool(options.methods or options.arms)
    if not begun and not options.name:
        return _list(workspace)
    plan = _plan(options) if begun else load_plan(workspace, options.name)
    queued = comparing.begin(plan, workspace) if begun else 0
    if options.resume:
        again = comparing.resume(plan.name, workspace)
        queued += again.runs
        if again.searches:
            sys.stderr.write(f"{plan.name}: {again.searches} searches are taken up again\n")
    if begun or options.resume:
        plan = load_plan(workspace, plan.name)
        _set_going(plan, queued, workspace)
        if options.queue:
            return 0
        _wait(plan.name, workspace)
    plan = load_plan(workspace, plan.name)
    now = progress(plan, workspace)
    _say_blocked(now)
    ended = _say_searches(plan, workspace)
    _measure(now, workspace)
    found = report(now)
    _write(found, options)
    if found.finished == found.total:
        from kdengine import tracking

        tables = {f"comparison{SUFFIXES[kind]}": write(found) for kind, write in FORMATS.items()}
        tracking.log_comparison(workspace, found.plan.name, tables)
    return 3 if found.failed or now.blocked or ended else 0


def _plan(options: argparse.Namespace) -> Plan:
    if not options.name:
        raise BadInput(Problem("compare", "give it a name: kd compare NAME --methods a,b,c"))
    if options.seeds < 1:
        raise BadInput(Problem("--seeds", f"found {options.seeds}, expected 1 or more; 5 give a verdict a chance"))
    mapping = train.read_mapping(options)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    methods = _methods(options.methods or "", mapping)
    tuning = tuning_of(options.tune, options.tune_epochs, ("--tune", "--tune-epochs"))
    return make_plan(options.name, mapping, methods, seeds, options.arms, cutmix=not options.no_cutmix, tuning=tuning)


def _methods(text: str, mapping: dict[str, object]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names != [ALL]:
        return names
    return candidates(mapping.get("teacher"))


def _set_going(plan: Plan, count: int, workspace: Workspace) -> None:
    from kdengine.jobs import ensure_supervisor

    if count:
        ensure_supervisor(workspace)
    arms = "; ".join(arm.name for arm in plan.arms)
    sys.stderr.write(f"{plan.name}: {count} of {len(plan.arms) * len(plan.seeds)} runs queued; arms: {arms}\n")


def _wait(name: str, workspace: Workspace) -> None:
    from kdengine.jobs import ensure_supervisor

    try:
        with waiting() as report:
            while True:
                plan = load_plan(workspace, name)  # searches add arms to it
                now, tuning = progress(plan, workspace), searches(plan, workspace)
                if not now.under_way and not any(search.under_way for search in tuning):
                    return
                ensure_supervisor(workspace)
                report(_line(now, tuning))
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        sys.stderr.write(f"The runs go on; `kd compare {name}` shows how they stand.\n")
        raise


def _say_blocked(now: Progress) -> None:
    """What runs wait for in vain, once for each, and that this command takes it up again."""
    for message in dict.fromkeys(cell.message for cell in now.blocked):
        count = sum(cell.message == message for cell in now.blocked)
        runs = "run" if count == 1 else "runs"
        sys.stderr.write(f"kd: {count} {runs}: {message}; so does `kd compare {now.plan.name} --resume`\n")


def _say_searches(plan: Plan, workspace: Workspace) -> int:
    """What has become of the searches that have not found anything; how many have ended so."""
    found = [search for search in searches(plan, workspace) if search.state != FOUND]
    for search in found:
        why = f": {search.message}" if search.message else ""
        sys.stderr.write(
            f"kd: the search for {search.arm!r} ({search.study}) is {search.state}, {search.progress}{why}\n"
        )
    return sum(not search.under_way for search in found)


def _line(now: Progress, tuning: Sequence[ArmSearch]) -> str:
    running = [f"{cell.cell.arm} seed {cell.cell.seed}" for cell in now.cells if cell.state == "running"]
    done = f"{now.plan.name}: {now.count('finished')} of {len(now.cells)} runs"
    if tuning:
        at_work = [f"{search.arm} {search.trials} trials" for search in tuning if search.state == State.RUNNING]
        done += f", {sum(search.state == FOUND for search in tuning)} of {len(tuning)} searches"
        running += [f"searching {each}" for each in at_work]
    return f"{done}, now {', '.join(running)}" if running else done


def _measure(now: Progress, workspace: Workspace) -> None:
    missing = unmeasured(now)
    if not missing:
        return
    if now.under_way:  # what trains beside it would distort the latency, and whoever looks in between would wait
        sys.stderr.write("Fidelity and latency are measured when nothing of it trains any more.\n")
        return
    from kdengine.comparison.measure import measure

    with waiting() as report:
        for number, run in enumerate(missing, 1):
            report(f"fidelity and latency: {number} of {len(missing)}")
            try:
                measure(run, now.teacher, workspace)
            except KdError as error:
                sys.stderr.write(f"kd: {run.id} cannot be measured: {error}\n")


def _write(found: Report, options: argparse.Namespace) -> None:
    if options.format == "json":
        from dataclasses import asdict

        numbers = {key: value for key, value in asdict(found).items() if key != "plan"}
        show_json({"plan": found.plan.model_dump(mode="json")} | numbers)
        return
    kind = options.format
    if kind == "text" and options.out:
        kind = "markdown"
    if kind == "text":
        show(columns(found, brief=True), rows(found, brief=True))
        sys.stdout.writelines(f"{note}\n" for note in notes(found))
        return
    text = FORMATS[kind](found)
    if not options.out:
        sys.stdout.write(text)
        return
    from kdengine.workspace import files

    files.write_text(Path(options.out), text)
    sys.stderr.write(f"{options.out}\n")


def _list(workspace: Workspace) -> int:
    names = list_plans(workspace)
    if not names:
        sys.stdout.write("There is none yet. `kd compare NAME --methods kd,dkd --teacher resnet8x4` makes one.\n")
        return 0
    lines = []
    for name in names:
        try:
            now = progress(load_plan(workspace, name), workspace)
        except KdError as error:
            lines.append((name, "damaged", "", ""))
            sys.stderr.write(f"kd: {error}\n")
            continue
        arms = ", ".join(arm.name for arm in now.plan.arms)
        lines.append((name, f"{now.count('finished')} of {len(now.cells)}", str(len(now.plan.seeds)), arms))
    show(("name", "runs", "seeds", "arms"), lines)
    return 0
