"""``kd export``: the student of a run as files to take away, tried on real images, with a model card."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdengine.commands import tables
from kdengine.commands.console import add_data_changed
from kdengine.units import size
from kdengine.workspace import Workspace

if TYPE_CHECKING:
    from kdengine.export import Exported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd export``."""
    parser.add_argument("run", help="id of a finished run, or a unique beginning or end of it")
    parser.add_argument("--format", choices=("safetensors", "onnx"), default="safetensors", help="default safetensors")
    parser.add_argument("--out", metavar="DIR", help="folder to make (default <run>-<format> in this one)")
    parser.add_argument("--int8", action="store_true", help="with onnx: a file of 8 bits too, its accuracy measured")
    parser.add_argument("--exits", action="store_true", help="the early exits too, in files of their own")
    parser.add_argument("--last", action="store_true", help="weights of the last epoch, not the best by validation")
    parser.add_argument("--images", "--pictures", type=int, default=2000, metavar="N",
                        help="test images to compare on, spread over the part (default 2000)")  # fmt: skip
    add_data_changed(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Writes the folder and prints what was measured."""
    from kdengine import assembly
    from kdengine.export import Request, export

    workspace = Workspace()
    run = workspace.existing_run(options.run)
    folder = Path(options.out or f"{run.id}-{options.format}")
    request = Request(options.format, options.int8, options.exits, options.last, options.images)
    if options.data_changed is not None:
        assembly.load_data_of(run, workspace, accept=True)
    exported = export(run, workspace, folder, request, say=lambda line: sys.stderr.write(f"{line}\n"))
    if options.json:
        tables.show_json(exported.to_json() | {"folder": str(folder)})
    else:
        _show(exported)
    return 0


def _show(exported: Exported) -> None:
    columns = ("file", "what", "size", "accuracy", "same class", "largest difference", "ms an image")
    rows = [
        (
            network.file or "(none)",
            network.holds,
            size(network.bytes),
            f"{100 * network.accuracy:.1f} %",
            f"{100 * network.agreement:.1f} %",
            f"{network.difference:.1e}",
            f"{network.milliseconds:.2f}",
        )
        for network in exported.networks
    ]
    tables.show(columns, rows)
    loading = exported.loading
    tables.show_pairs([
        ("measured", f"{exported.images:,} test images of {exported.data}; one thread of {exported.hardware}"),
        ("loads in", f"{loading.library} alone" if loading and loading.library != "kdengine" else ""),
        ("folder", f"{exported.folder}: README.md says how to use it"),
    ])  # fmt: skip
