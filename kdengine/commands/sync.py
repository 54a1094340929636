"""``kd sync``: bring MLflow up to date with what it missed."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from kdengine import tracking
from kdengine.commands.tables import show_json
from kdengine.errors import KdError, every
from kdengine.tracking import mirroring
from kdengine.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd sync``."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="ids of runs; default: all that MLflow lacks part of")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Catches up and says what was done; exit code 3 when something is still owed."""
    workspace = Workspace()
    named = every(partial(workspace.existing_run, name) for name in options.runs)
    if not tracking.available():
        raise KdError("MLflow is not installed here, so there is nothing to bring up to date")
    outcome = mirroring.catch_up(workspace, named or None)
    if options.json:
        show_json({"caught_up": outcome.caught_up, "deleted": outcome.deleted, "owed": outcome.owed})
    else:
        _show(workspace, outcome)
    return 0 if outcome.settled else KdError.exit_code


def _show(workspace: Workspace, outcome: mirroring.Outcome) -> None:
    for run in outcome.caught_up:
        sys.stdout.write(f"{run}: up to date in MLflow\n")
    for mlflow_run in outcome.deleted:
        sys.stdout.write(f"{mlflow_run}: deleted in MLflow\n")
    for name, why in outcome.owed.items():
        sys.stdout.write(f"{name}: still owed{'' if outcome.silent else f': {why}'}\n")
    if outcome.silent:
        sys.stderr.write(f"kd: {outcome.silent}; start the server, or see MLFLOW_TRACKING_URI, then `kd sync`\n")
    elif not (outcome.caught_up or outcome.deleted or outcome.owed):
        sys.stdout.write(f"nothing is owed to MLflow at {tracking.shown(workspace)}\n")
