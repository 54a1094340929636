"""``kd inspect``: what a run's networks see, as numbers, a page, a drawing or arrays."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdengine.commands.console import add_data_changed

if TYPE_CHECKING:
    from kdengine.figures.seen import Seen
    from kdengine.workspace import Workspace
    from kdengine.workspace.rundir import RunDirectory

FORMATS = (".html", ".svg", ".npz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd inspect``."""
    parser.add_argument("run", help="id of the run, or a unique beginning or end of it")
    parser.add_argument("--what", metavar="VIEW", help="which panel to compute; without it, the list of panels")
    parser.add_argument("--epoch", default="best", help="best (default), last, or the number of an epoch")
    parser.add_argument("--with", dest="other", metavar="RUN", help="a second run beside it, on the same scale")
    parser.add_argument(
        "--difference", action="store_true", help="two runs' maps or matrices as one, first minus second"
    )
    parser.add_argument(
        "--images", "--pictures", nargs="+", type=Path, default=[], metavar="FILE", help="instead of validation ones"
    )
    parser.add_argument("--classes", default="", metavar="A,B", help="validation images of these classes only")
    parser.add_argument("--count", type=int, help="how many images, at most 128")
    parser.add_argument("--stage", type=int, help="of which stage, where there are many maps (default: the deepest)")
    parser.add_argument("--threshold", type=float, default=0.25, help="edges from this share of the strongest, 0..1")
    add_data_changed(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write .html, .svg (maps only) or .npz (the arrays)")


def main(options: argparse.Namespace) -> int:
    """Shows or writes."""
    from kdengine import assembly
    from kdengine.errors import BadInput, Problem
    from kdengine.workspace import Workspace

    workspace = Workspace()
    run = workspace.existing_run(options.run)
    if options.data_changed is not None:
        for each in (options.run, options.other):
            if each is not None:
                assembly.load_data_of(workspace.existing_run(each), workspace, accept=True)
    if options.what is None:
        _list(workspace, run)
        return 0
    problems = []
    if options.out is not None and options.out.suffix not in FORMATS:
        found = options.out.suffix or "no ending"
        problems.append(Problem("--out", f"found {found}; expected a file that ends in {', '.join(FORMATS)}"))
    if options.difference and options.other is None:
        problems.append(Problem("--difference", "needs a second run: --with RUN"))
    if not 0 <= options.threshold <= 1:
        problems.append(Problem("--threshold", f"found {options.threshold:g}, expected 0..1"))
    if problems:
        raise BadInput(problems)
    other = workspace.existing_run(options.other) if options.other else None
    seen = _look(workspace, run, other, options)
    if options.out is None:
        for one in seen:
            _print(one)
        return 0
    _write(seen, options)
    return 0


def _look(
    workspace: Workspace, run: RunDirectory, other: RunDirectory | None, options: argparse.Namespace
) -> list[Seen]:
    from kdengine.inspection.looking import as_epoch, chosen, look, look_beside
    from kdengine.inspection.panels import panel

    images = None
    if options.images or options.classes or options.count:
        names = tuple(name.strip() for name in options.classes.split(",") if name.strip())
        count = options.count or panel(options.what).images or 64
        images = chosen(workspace, run, count, names, tuple(options.images))
    epoch = as_epoch(options.epoch)
    first = look(workspace, run, options.what, epoch, images)
    return [first] if other is None else [first, look_beside(workspace, other, options.what, epoch, first)]


def _list(workspace: Workspace, run: RunDirectory) -> None:
    from kdengine.commands.tables import show
    from kdengine.inspection import recordings as store
    from kdengine.inspection.looking import epochs, offered

    recorded = store.recorded_panels(run)
    rows = [
        [one.name, one.sentence, "yes" if one.name in recorded else "made when asked for"]
        for one in offered(workspace, run)
    ]
    show(("view", "what it shows", "recorded while training"), rows)
    numbers = ", ".join(map(str, epochs(run))) or "none by number"
    sys.stdout.write(f"epochs: best, last, {numbers}\n")


def _print(seen: Seen) -> None:
    from kdengine.commands.tables import show

    sys.stdout.write(f"{seen.label}\n")
    rows = [
        [name, " x ".join(map(str, values.shape)) or "number", *(f"{float(value):.4g}" for value in _facts(values))]
        for name, values in (seen.arrays or seen.history).items()
    ]
    show(("array", "shape", "lowest", "mean", "highest"), rows)


def _facts(values: Any) -> tuple[float, float, float]:
    import numpy as np

    return np.nanmin(values), np.nanmean(values), np.nanmax(values)


def _write(seen: list[Seen], options: argparse.Namespace) -> None:
    from kdengine.errors import BadInput, Problem
    from kdengine.figures.document import document
    from kdengine.figures.inspection import draw
    from kdengine.figures.seen import DIFFERENCE, SIDE_BY_SIDE, Wishes, arrays_of
    from kdengine.inspection.panels import panel
    from kdengine.inspection.recordings import write_arrays
    from kdengine.workspace import files

    if options.out.suffix == ".npz":
        write_arrays(options.out, arrays_of(seen))
        return
    arrangement = DIFFERENCE if options.difference else SIDE_BY_SIDE
    wishes = Wishes(stage=options.stage, arrangement=arrangement, threshold=options.threshold)
    one = panel(options.what)
    drawings = draw(one.kind, seen, wishes)
    if options.out.suffix == ".html":
        title = f"{one.title}: {' and '.join(each.label for each in seen)}, {options.epoch}"
        files.write_text(options.out, document(title, one.sentence, drawings))
        return
    drawn = [drawing.svg for drawing in drawings if drawing.svg]
    if not drawn:
        raise BadInput(
            Problem("--out", f"{options.what} is drawn by Plotly; write .html, its camera button gives a PNG")
        )
    files.write_text(options.out, drawn[0])
