"""``kd import``: your own teacher: bring it in, check it against the data, correct its class order, delete it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdengine.commands.tables import show, show_json, show_pairs
from kdengine.errors import BadInput, Problem
from kdengine.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from kdengine.teachers.check import Check
    from kdengine.teachers.records import Imported
    from kdengine.teachers.weights import Incoming


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd import``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the teacher; --teacher import:NAME then names it")
    bring = parser.add_argument_group("bring in")
    bring.add_argument("--weights", metavar="FILE", help="safetensors file of the network's weights")
    bring.add_argument("--model", metavar="NAME", help="its architecture: of the catalog, timm/NAME, torchvision/NAME")
    bring.add_argument("--published", metavar="NAME", help="torchvision/NAME or timm/NAME with its published weights")
    bring.add_argument("--classes", metavar="FILE", help="text file, one class name a line, in the order of the logits")
    bring.add_argument("--image-size", type=int, metavar="N", help="side of the images it was trained with, pixels")
    bring.add_argument("--mean", metavar="R,G,B", help="its normalisation, of pixels in 0..1 (default ImageNet's)")
    bring.add_argument("--std", metavar="R,G,B", help="its normalisation, of pixels in 0..1 (default ImageNet's)")
    bring.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", dest="options",
                       help="one of the architecture's own parameters; may be repeated")  # fmt: skip
    bring.add_argument("--dry-run", action="store_true",
                       help="say how the weights fit, name by name, and keep nothing")  # fmt: skip
    look = parser.add_argument_group("look")
    look.add_argument("--list", action="store_true", help="all imported teachers")
    look.add_argument("--check", action="store_true", help="accuracy and class order on training images of --dataset")
    look.add_argument("--dataset", metavar="NAME", help="data set to check with (kd list datasets)")
    look.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="changes",
                      help="settings of the data set, e.g. data.path=FOLDER; may be repeated")  # fmt: skip
    look.add_argument("--json", action="store_true", help="print JSON")
    change = parser.add_argument_group("change")
    change.add_argument(
        "--fix",
        "--mend",
        dest="fix",
        action="store_true",
        help="with --check: store the class order and normalisation found",
    )
    change.add_argument("--delete", action="store_true", help="remove it; refused while a run needs it")


def main(options: argparse.Namespace) -> int:
    """Imports, lists, checks, fixes or deletes; 2 when a check finds that a run would refuse the teacher as it is."""
    from kdengine.teachers import records

    workspace = Workspace()
    _check_words(options)
    if options.list or not options.name:
        _list(workspace, options.json)
        return 0
    if options.delete:
        records.delete(workspace, options.name)
        sys.stderr.write(f"{options.name} is deleted\n")
        return 0
    if options.weights or options.published:
        incoming, state = _incoming(options, workspace)
        if options.dry_run:
            _show_names(incoming, state, options.json)
            return 0
        from kdengine.teachers import weights  # brings torch, which lists and deletions do without

        imported = weights.bring_in(workspace, incoming, state)
        sys.stderr.writelines(f"{note}\n" for note in imported.notes)
    else:
        imported = records.find(workspace, options.name, "name")
    if options.check or options.dataset:
        return _check(options, workspace, imported)
    _show(imported, options.json)
    return 0


def _check_words(options: argparse.Namespace) -> None:
    """Refuses options that say nothing together."""
    problems = []
    brings = bool(options.weights or options.published)
    if not options.name and (brings or options.check or options.delete):
        problems.append(Problem("name", "give the teacher a name: kd import NAME ..."))
    if options.weights and options.published:
        problems.append(Problem("--published", "give --weights or --published, not both"))
    if options.weights and not options.model:
        problems.append(
            Problem("--model", "say which architecture the weights are of, e.g. timm/resnet18 or resnet8x4")
        )
    if options.published and options.model:
        problems.append(Problem("--model", "published weights name their architecture themselves; leave it out"))
    if options.check and not options.dataset:
        problems.append(Problem("--dataset", "say with which data set to check"))
    if options.dry_run and not brings:
        problems.append(Problem("--dry-run", "goes with --weights or --published: it says how they fit"))
    if options.fix and not options.dataset:
        problems.append(Problem("--fix", "goes with --check --dataset NAME: what that finds is stored"))
    if options.delete and brings:
        problems.append(Problem("--delete", "first delete, then import in a command of its own"))
    if problems:
        raise BadInput(problems)


# bring in -------------------------------------------------------------------------------------------------------------


def _incoming(options: argparse.Namespace, workspace: Workspace) -> tuple[Incoming, Path | Mapping[str, Tensor]]:
    """What is brought in, and its file or its tensors; published weights are fetched."""
    from kdengine.teachers import records, weights
    from kdengine.teachers.records import read_normalisation

    records.check_free(workspace, options.name)
    classes = _class_names(options.classes) if options.classes else None
    own = _options(options.options)
    given = read_normalisation(options.mean, options.std)
    if options.published:
        from kdengine.teachers.published import fetch

        found = fetch(options.published, workspace.cache / "published")
        mean, std = given or (found.mean, found.std)
        incoming = weights.Incoming(
            name=options.name, model=found.model, options=own, image_size=options.image_size or found.image_size,
            mean=mean, std=std, classes=classes or found.classes, source=found.source,
        )  # fmt: skip
        return incoming, found.state
    if given is None:
        sys.stderr.write("no --mean and --std: ImageNet's are taken; --check says whether others do better\n")
    mean, std = given or weights.IMAGENET
    incoming = weights.Incoming(
        name=options.name, model=options.model, options=own, image_size=options.image_size or _usual_size(options),
        mean=mean, std=std, classes=classes, source=Path(options.weights).name,
    )  # fmt: skip
    return incoming, Path(options.weights)


def _show_names(incoming: Incoming, state: Path | Mapping[str, Tensor], json: bool) -> None:
    """How the weights fit: what was found on the way, and of each tensor both names and the shape."""
    from kdengine.teachers import fitting, weights

    found = weights.look(incoming, state)
    tensors = found.backbone.body.state_dict()
    if json:
        show_json({"options": found.options, "notes": found.notes, "names": found.names})
        return
    rows = [(old, new, fitting.shape_text(tensors[new])) for old, new in found.names.items()]
    show(("in the file", f"in {incoming.model}", "shape"), rows)
    sys.stderr.writelines(f"{note}\n" for note in found.notes)
    sys.stderr.write(f"They fit: {found.backbone.classifier.out_features} classes. Nothing was kept.\n")


def _usual_size(options: argparse.Namespace) -> int:
    from kdengine.registry import DATASETS, UnknownName

    if not options.dataset:
        message = "say at which size, in pixels, it was trained (or name the --dataset, whose usual size is taken then)"
        raise BadInput(Problem("--image-size", message))
    try:
        return int(DATASETS.get(options.dataset).default_image_size)
    except UnknownName as error:
        raise BadInput(Problem("--dataset", str(error))) from error


def _class_names(name: str) -> list[str]:
    try:
        lines = Path(name).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(Problem("--classes", f"cannot read {name}: {error}")) from error
    return [line.strip() for line in lines if line.strip()]


def _options(words: list[str]) -> dict[str, Any]:
    from kdengine.spec.yaml_text import read_yaml

    pairs = [word.partition("=") for word in words]
    wrong = [Problem("--option", f"found {word!r}, expected NAME=VALUE") for word in words if "=" not in word]
    if wrong:
        raise BadInput(wrong)
    return {name: read_yaml(value, "--option") for name, _, value in pairs}


# look -----------------------------------------------------------------------------------------------------------------


def _check(options: argparse.Namespace, workspace: Workspace, imported: Imported) -> int:
    from kdengine import assembly
    from kdengine.spec import ExperimentSpec, with_settings
    from kdengine.teachers import check

    data = {"name": options.dataset, "image_size": imported.image_size}
    spec = ExperimentSpec.from_mapping(
        with_settings({"data": data, "method": "none", "student": "resnet20"}, options.changes)
    )
    bundle = assembly.load_data(spec, workspace)
    found = check.check(imported, bundle)
    if options.json:
        show_json(_plain(imported, found))
    else:
        _report(imported, found)
    if options.fix:
        fixed = check.repair(workspace, imported, bundle, found)
        sys.stderr.write(f"{fixed.name}: stored, digest {fixed.digest}\n")
        return 0
    check.remember(imported, found)
    return 0 if found.knows and found.order is None else BadInput.exit_code


def _report(imported: Imported, found: Check) -> None:
    stages = ", ".join("x".join(map(str, stage)) for stage in found.shapes.stages) or "none"
    show_pairs([
        ("teacher", f"{imported.id} ({imported.model} at {imported.image_size} px)"),
        ("outputs", f"{found.shapes.classes} classes, embedding {found.shapes.embedding}, stages {stages}"),
        ("looked at", f"{found.images} training and validation images of {found.data}"),
    ])  # fmt: skip
    columns = ("normalisation", "as it is", "by names", "best order")
    rows = [(trial.normalisation, *map(_percent, (trial.as_is, trial.by_names, trial.found))) for trial in found.trials]
    show(columns, rows)
    sys.stdout.writelines(f"{line}\n" for line in found.lines)


def _plain(imported: Imported, found: Check) -> dict[str, Any]:
    from dataclasses import asdict

    return {"teacher": imported.name} | asdict(found) | {"shapes": found.shapes._asdict(), "knows": found.knows}


def _list(workspace: Workspace, json: bool) -> None:
    from kdengine.teachers.records import list_imports

    found = list_imports(workspace)
    if json:
        show_json([{"name": imported.name, "digest": imported.digest} | imported.to_json() for imported in found])
    elif not found:
        sys.stdout.write("There is none yet. `kd import NAME --weights FILE --model NAME --image-size N` makes one.\n")
    else:
        columns = ("name", "model", "classes", "px", "checked", "imported")
        show(columns, [_row(imported) for imported in found])


def _row(imported: Imported) -> tuple[str, ...]:
    checks = ", ".join(f"{data} {_percent(value)}" for data, value in imported.checks.items()) or "no"
    day = time.strftime("%Y-%m-%d", time.localtime(imported.imported))
    return imported.name, imported.model, str(len(imported.classes)), str(imported.image_size), checks, day


def _show(imported: Imported, json: bool) -> None:
    if json:
        show_json({"name": imported.name, "digest": imported.digest} | imported.to_json())
        return
    names = ", ".join(imported.classes[:6]) + (", ..." if len(imported.classes) > 6 else "")
    show_pairs([
        ("teacher", imported.id),
        ("model", f"{imported.model} at {imported.image_size} px"),
        ("classes", f"{len(imported.classes)}" + (f": {names}" if imported.named else ", without names")),
        ("mean", ", ".join(f"{value:g}" for value in imported.mean)),
        ("std", ", ".join(f"{value:g}" for value in imported.std)),
        ("from", imported.source),
        ("notes", "; ".join(imported.notes)),
        ("digest", imported.digest),
        ("next", f"kd import {imported.name} --check --dataset NAME"),
    ])  # fmt: skip


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
