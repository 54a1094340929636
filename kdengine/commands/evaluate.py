"""``kd eval``: accuracy and calibration of a trained student on one part of its data."""

from __future__ import annotations

import argparse
import json
import sys

from kdengine.commands.console import add_data_changed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd eval``."""
    parser.add_argument("run", help="id of the run, or a unique beginning or end of it")
    parser.add_argument("--part", choices=("validation", "test"), default="test", help="default test")
    parser.add_argument("--last", action="store_true", help="weights of the last epoch, not the best")
    parser.add_argument("--exits", action="store_true", help="every exit of a self-distilled student, and its cost")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:<n>")
    add_data_changed(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Evaluates and prints."""
    from kdengine import assembly
    from kdengine.errors import BadInput, Problem
    from kdengine.evaluation.accuracy import evaluate
    from kdengine.models.stored import load_student, read_card
    from kdengine.spec import ExperimentSpec
    from kdengine.training.hardware import pick_device
    from kdengine.workspace import Workspace

    if options.exits and options.last:
        raise BadInput(Problem("--last", "exits are kept with the best weights only; leave one of the two options out"))
    workspace = Workspace()
    run = workspace.existing_run(options.run)
    card = read_card(run)
    device = pick_device(options.device)
    spec = ExperimentSpec.from_yaml(run.spec_text())
    bundle = assembly.load_data_of(run, workspace, accept=options.data_changed is not None)
    batches = assembly.evaluation_batches(spec, bundle, options.part, device)
    if options.exits:
        from kdengine.commands import exits, tables

        measured = exits.measure(run, lambda: batches.epoch(0), device)
        (tables.show_json if options.json else exits.show)(measured)
        return 0
    student = load_student(run, last=options.last)[0].to(device)
    result = evaluate(lambda x: student(x).logits, batches.epoch(0))
    if options.json:
        per_class = dict(zip(card.classes, result.per_class, strict=True))
        numbers = result.summary() | {"count": result.count, "per_class": per_class}
        sys.stdout.write(json.dumps(numbers, indent=2) + "\n")
        return 0
    which = "last" if options.last else "best by validation"
    sys.stdout.write(f"{run.id} ({card.model}, {which}) on {options.part}, {result.count:,} images\n")
    sys.stdout.write(f"  accuracy  {100 * result.accuracy:.1f} %\n  top-5     {100 * result.top5:.1f} %\n")
    sys.stdout.write(f"  loss      {result.loss:.4f}\n  ECE       {100 * result.ece:.1f} %\n")
    worst = sorted(zip(result.per_class, card.classes, strict=True))[:3]
    sys.stdout.write("  weakest   " + ", ".join(f"{name} {100 * value:.1f} %" for value, name in worst) + "\n")
    return 0
