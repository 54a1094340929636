"""``kd predict``: what a trained student sees in images."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd predict``."""
    parser.add_argument("run", help="id of the run, a unique beginning or end of it, or a folder of kd export")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--top", type=int, default=5, choices=range(1, 6), help="classes to show for each (default 5)")
    parser.add_argument("--csv", action="store_true", help="one line an image: file, class, probability")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:<n>")


def main(options: argparse.Namespace) -> int:
    """Classifies every image; an image that cannot be read is named, the others are classified all the same."""
    from kdengine.errors import BadInput
    from kdengine.evaluation.classifier import Classifier, open_image
    from kdengine.export import load
    from kdengine.training.hardware import pick_device
    from kdengine.workspace import Workspace

    device = str(pick_device(options.device))
    folder = Path(options.run)
    classifier = Classifier(load(folder) if folder.is_dir() else Workspace().existing_run(options.run), device)
    writer = csv.writer(sys.stdout)
    refused: list[BadInput] = []
    for name in options.images:
        try:
            found = classifier(open_image(Path(name), name))
        except BadInput as error:
            refused.append(error)
            continue
        if options.csv:
            label, probability = found.top[0]
            writer.writerow([name, label, f"{probability:.4f}"])
        else:
            tops = "  ".join(f"{label} {100 * value:.1f} %" for label, value in found.top[: options.top])
            sys.stdout.write(f"{name}: {tops}  ({found.milliseconds:.1f} ms)\n")
    if refused:
        raise BadInput([problem for error in refused for problem in error.problems])
    return 0
