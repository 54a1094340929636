"""``kd``: the command line. Parses, dispatches, and turns every expected error into words and an exit code.

Exit codes: 0 done, 2 bad input, 3 failed run, 130/143 stopped with a checkpoint. Commands live in `kdengine.commands`;
other packages add theirs through the entry-point group ``kdengine.commands``. Nothing heavy is imported before a
command runs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from kdengine import extras, import_path, plugins
from kdengine.errors import BadInput, DiskFull, KdError
from kdengine.workspace.files import FULL


class Command(NamedTuple):
    """One sub-command: its name, one line of help, and ``module:prefix`` of ``add_arguments`` and ``main`` in it.

    The module is imported only when the command is used. Commands without help are for the program itself.
    """

    name: str
    help: str
    module: str


BUILT_IN = (
    Command(
        "train", "train a student: by names, from a YAML file, in this shell or as a job", "kdengine.commands.train"
    ),
    Command("resume", "continue a run from its last checkpoint", "kdengine.commands.resume"),
    Command("eval", "accuracy and calibration of a trained student", "kdengine.commands.evaluate"),
    Command(
        "inspect",
        "look inside: attention, importance pooling, graphs, what a method changed",
        "kdengine.commands.inspect",
    ),
    Command("check", "would it work? shapes, pairing of stages, the teacher's accuracy", "kdengine.commands.check"),
    Command("import", "a teacher of one's own: safetensors or published weights", "kdengine.commands.imports"),
    Command("predict", "what a trained student sees in images", "kdengine.commands.predict"),
    Command("export", "the student as safetensors or ONNX, tried on real images", "kdengine.commands.export"),
    Command("jobs", "the queue: list, stop, kill, resume, move, delete", "kdengine.commands.jobs"),
    Command("tag", "name, tags and notes of a run", "kdengine.commands.tag"),
    Command("disk", "what takes how much room, and freeing what no run needs", "kdengine.commands.disk"),
    Command("list", "what there is: methods, models, datasets, recipes", "kdengine.commands.listing"),
    Command("new-method", "a package with a method of your own, and its tests", "kdengine.commands.new_method"),
    Command("bench", "how fast this machine trains, side by side with a plain loop", "kdengine.commands.bench"),
    Command("sync", "bring MLflow up to date with what it missed", "kdengine.commands.sync"),
    Command("doctor", "devices, versions, disk, health of the workspace", "kdengine.commands.doctor"),
    Command("execute", "", "kdengine.commands.execute"),
    Command("supervise", "", "kdengine.commands.supervise"),
)


def main(argv: list[str] | None = None) -> int:
    """Runs a command line (default: the process's own) and returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    import_path.keep_ours_first()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("mlflow", "alembic", "httpx", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return _run(arguments)
    except KdError as error:
        return _said(error)
    except ModuleNotFoundError as error:
        lacking = extras.missing(error.name or "")
        if lacking is None:
            raise
        return _said(lacking)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f", which holds {error.filename}" if error.filename else ""
        sys.stderr.write(f"kd: no space is left on the disk{where}\n    {DiskFull.advice}\n")
        return DiskFull.exit_code
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    options = _parser(_commands(arguments), arguments).parse_args(arguments)
    if options.home:
        os.environ["KD_HOME"] = options.home
    from kdengine.workspace import Workspace  # not for `kd --help`

    Workspace().settle()
    found: int | None = options.main(options)
    return found or 0


def _said(error: KdError) -> int:
    """Every problem of the error on a line of its own, and its exit code."""
    if isinstance(error, BadInput):
        for problem in error.problems:
            sys.stderr.write(f"kd: {problem}\n")
    else:
        sys.stderr.write(f"kd: {error}\n" + (f"    {error.advice}\n" if error.advice else ""))
    return error.exit_code


def _commands(arguments: list[str]) -> dict[str, Command]:
    """Those built in, and of other packages the one in question; all of them where none is."""
    commands = {command.name: command for command in BUILT_IN}
    points = {point.name: point for point in plugins.points(plugins.COMMANDS)}
    wanted = next((word for word in arguments if word in commands or word in points), None)
    if wanted in commands:
        return commands
    loaded = [plugins.load(point) for point in ([points[wanted]] if wanted else points.values())]
    failures = [found for found in loaded if isinstance(found, plugins.Failure)]
    if wanted and failures:
        raise KdError(str(failures[0]))
    for failure in failures:
        logging.warning("%s", failure)
    return commands | {found.name: found for found in loaded if not isinstance(found, plugins.Failure)}


def _parser(commands: Mapping[str, Command], arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kd", description="Knowledge distillation of image classifiers.", epilog="kd <command> --help says more."
    )
    parser.add_argument("--home", metavar="DIR", help="workspace folder (default: $KD_HOME, else ./kd-workspace)")
    places = parser.add_subparsers(metavar="<command>", required=True)
    # Only the command in question is imported: `kd --help` must not wait for torch.
    wanted = next((word for word in arguments if word in commands), None)
    for command in commands.values():
        # argparse shows every sub-command that has a help text, and only those.
        shown: dict[str, Any] = {"help": command.help} if command.help else {}
        place = places.add_parser(command.name, description=command.help, **shown)
        if command.name == wanted:
            module = import_module(command.module)
            module.add_arguments(place)
            place.set_defaults(main=module.main)
    return parser
