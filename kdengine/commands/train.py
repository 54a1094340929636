"""``kd train``: from names, a YAML file and single settings to a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kdengine.commands.console import add_data_changed
from kdengine.errors import BadInput, Problem, every
from kdengine.starting import importing

if TYPE_CHECKING:
    from kdengine.spec import ExperimentSpec
    from kdengine.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd train``."""
    add_experiment(parser)
    parser.add_argument("--method", metavar="NAME", help="kd list methods; default kd with a teacher, none without")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the student's run")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="N runs, one a seed: --seed, --seed + 1, ...")
    parser.add_argument("--name", metavar="TEXT", help="a name of your own, for tables")
    parser.add_argument("--run-id", metavar="ID", help="id of the run (default: time and method)")
    parser.add_argument("--queue", action="store_true", help="hand it to the job queue, do not train in this shell")
    add_data_changed(parser)
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the whole spec as YAML and stop")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Adds the options that describe data, networks and recipe; `read_mapping` reads them."""
    parser.add_argument("--spec", metavar="FILE", help="YAML file of a whole experiment; the options below change it")
    parser.add_argument("--dataset", metavar="NAME", help="data set (kd list datasets); default digits")
    parser.add_argument(
        "--teacher",
        metavar="NAME",
        help="model to train first, run:ID of a finished run, import:NAME (kd import), or none",
    )
    parser.add_argument("--student", metavar="NAME", help="model to train (kd list models); default mobilenetv3_small")
    parser.add_argument("--recipe", metavar="NAME", help="kd list recipes; default quick")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of student and teacher")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="changes",
                        help="any field by its dotted path, e.g. method.temperature=2; may be repeated")  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Trains, queues or prints the experiment."""
    with importing():
        from kdengine.spec import ExperimentSpec

        spec = ExperimentSpec.from_mapping(read_experiment(options))
    if options.only_print:
        sys.stdout.write(spec.to_yaml())
        return 0
    from kdengine.workspace import Workspace

    workspace = Workspace()
    specs = _one_a_seed(spec, options)
    if options.data_changed is not None and spec.teacher is not None and spec.teacher.run is not None:
        _accept(spec.teacher.run, workspace)
    warn(spec, workspace)
    if options.queue:
        return _queue(specs, workspace, options.run_id)

    with importing():
        from kdengine import assembly, runner
        from kdengine.commands.console import training
    every(partial(assembly.preflight, each, workspace) for each in specs)
    for each in specs:
        folder = runner.create(each, workspace, options.run_id)
        with training(folder):
            result = runner.execute(folder, workspace)
        sys.stdout.write(f"{result.run_id}\n")
        sys.stdout.flush()
    return 0


def _accept(teacher: str, workspace: Workspace) -> None:
    from kdengine import assembly

    assembly.load_data_of(assembly.check_teacher_run(workspace, teacher), workspace, accept=True)


def _one_a_seed(spec: ExperimentSpec, options: argparse.Namespace) -> list[ExperimentSpec]:
    problems = []
    if options.seeds < 1:
        problems.append(Problem("--seeds", f"found {options.seeds}, expected 1 or more"))
    if options.seeds > 1 and options.run_id:
        problems.append(Problem("--run-id", "one id cannot name the runs of several seeds; leave it out"))
    if problems:
        raise BadInput(problems)
    return [spec.model_copy(update={"seed": spec.seed + number}) for number in range(options.seeds)]


def _queue(specs: list[ExperimentSpec], workspace: Workspace, run_id: str | None) -> int:
    from kdengine.assembly.launch import launch_all
    from kdengine.jobs import ensure_supervisor

    ensure_supervisor(workspace)
    for job in launch_all(specs, workspace, run_id=run_id):
        sys.stdout.write(f"{job.id}\n")
    return 0


def warn(spec: ExperimentSpec, workspace: Workspace) -> None:
    """Says on stderr what published tables say against the pair; the run goes on all the same."""
    from kdengine.teachers import pairs

    sys.stderr.writelines(f"kd: warning: {line}\n" for line in pairs.warnings(spec, workspace))


def read_experiment(options: argparse.Namespace) -> dict[str, Any]:
    """The nested mapping that all options of ``kd train`` describe."""
    named: dict[str, Any] = {}
    if options.method is not None:
        named["method"] = {"name": options.method}
    if options.seed is not None:
        named["seed"] = options.seed
    if options.name is not None:
        named["title"] = options.name
    return read_mapping(options, named)


def read_mapping(options: argparse.Namespace, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The nested mapping that file, names, ``more`` and single settings describe, later ones winning."""
    from kdengine.spec import merge, with_absolute_paths, with_settings

    mapping = _read_file(options.spec) if options.spec else {}
    named: dict[str, Any] = {}
    for option, field in (("dataset", "data"), ("student", "student"), ("recipe", "recipe")):
        value = getattr(options, option)
        if value is not None:
            named[field] = {"name": value}
    if options.epochs is not None:
        named.setdefault("recipe", {})["epochs"] = options.epochs
    mapping = merge(merge(mapping, named), more)
    if options.teacher is not None:
        mapping["teacher"] = options.teacher
    if "method" not in mapping:
        mapping["method"] = {"name": "kd" if mapping.get("teacher") not in (None, "none") else "none"}
    return with_absolute_paths(with_settings(mapping, options.changes))


def _read_file(name: str) -> dict[str, Any]:
    from kdengine.spec.yaml_text import read_yaml

    try:
        text = Path(name).read_text()
    except OSError as error:
        raise BadInput(Problem("--spec", f"cannot read {name}: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise BadInput(Problem("--spec", f"{name} is not text in UTF-8: {error}")) from error
    mapping = read_yaml(text, f"--spec {name}")
    if not isinstance(mapping, dict):
        found = type(mapping).__name__
        raise BadInput(Problem("--spec", f"{name} must hold a mapping with data, student, method...; found {found}"))
    return mapping
