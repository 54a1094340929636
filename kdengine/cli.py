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
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from kdengine.errors import BadInput, DiskFull, KdError
from kdengine.files import FULL


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
        "compare",
        "methods x seeds under one recipe: what each gains, and whether that is decided",
        "kdengine.commands.compare",
    ),
    Command(
        "inspect",
        "look inside: attention, importance pooling, graphs, what a method changed",
        "kdengine.commands.inspect",
    ),
    Command("check", "would it work? shapes, pairing of stages, the teacher's accuracy", "kdengine.commands.check"),
    Command("import", "a teacher of one's own: safetensors or published weights", "kdengine.commands.imports"),
    Command("predict", "what a trained student sees in pictures", "kdengine.commands.predict"),
    Command("export", "the student as safetensors or ONNX, tried on real pictures", "kdengine.commands.export"),
    Command("jobs", "the queue: list, stop, kill, resume, move, delete", "kdengine.commands.jobs"),
    Command("disk", "what takes how much room, and freeing what no run needs", "kdengine.commands.disk"),
    Command("list", "what there is: methods, models, datasets, recipes", "kdengine.commands.listing"),
    Command("bench", "how fast this machine trains, side by side with a plain loop", "kdengine.commands.bench"),
    Command("sync", "bring MLflow up to date with what it could not be told at the time", "kdengine.commands.sync"),
    Command("doctor", "devices, versions, disk, health of the workspace", "kdengine.commands.doctor"),
    Command("execute", "", "kdengine.commands.execute"),
    Command("supervise", "", "kdengine.commands.supervise"),
)


def main(argv: list[str] | None = None) -> int:
    """Runs a command line (default: the process's own) and returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    commands = {command.name: command for command in (*BUILT_IN, *_from_other_packages())}
    parser = _parser(commands, arguments)
    options = parser.parse_args(arguments)
    if options.home:
        os.environ["KD_HOME"] = options.home
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("mlflow", "alembic", "httpx", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return options.main(options) or 0
    except BadInput as error:
        for problem in error.problems:
            sys.stderr.write(f"kd: {problem}\n")
        return error.exit_code
    except KdError as error:
        sys.stderr.write(f"kd: {error}\n" + (f"    {error.advice}\n" if error.advice else ""))
        return error.exit_code
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


def _from_other_packages() -> list[Command]:
    return [point.load() for point in entry_points(group="kdengine.commands")]


def _parser(commands: dict[str, Command], arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kd", description="Knowledge distillation of image classifiers.", epilog="kd <command> --help tells more."
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
