"""``kd check``: would this experiment work? Shapes, pairing of stages, the teacher on one batch, known bad pairs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kdengine.commands import train
from kdengine.errors import BadInput, KdError

if TYPE_CHECKING:
    from kdengine.data import DatasetBundle
    from kdengine.models.backbone import Shapes
    from kdengine.spec import ExperimentSpec
    from kdengine.workspace import Workspace

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd check``: those of ``kd train`` that describe the experiment."""
    train.add_experiment(parser)
    parser.add_argument("--method", metavar="NAME", help="kd list methods; default kd with a teacher, none without")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(seed=None, name=None)


def main(options: argparse.Namespace) -> int:
    """Prints what is found; every problem goes to stderr, with exit code 2."""
    from kdengine import assembly
    from kdengine.commands.tables import show_json, show_pairs
    from kdengine.spec import ExperimentSpec
    from kdengine.teachers import pairs
    from kdengine.workspace import Workspace

    spec = ExperimentSpec.from_mapping(train.read_experiment(options))
    workspace = Workspace()
    refused: BadInput | None = None
    try:
        assembly.preflight(spec, workspace)
    except BadInput as error:
        refused = error
    found = facts(spec, workspace) | {"warnings": pairs.warnings(spec, workspace)}
    if options.json:
        problems = (
            [{"field": problem.field, "message": problem.message} for problem in refused.problems] if refused else []
        )
        show_json(found | {"problems": problems})
    else:
        show_pairs(_lines(found))
        sys.stdout.writelines(f"warning: {line}\n" for line in found["warnings"])
    if refused is not None:
        raise refused
    if not options.json:
        sys.stdout.write("nothing speaks against it\n" if not found["warnings"] else "it can run\n")
    return 0


def facts(spec: ExperimentSpec, workspace: Workspace) -> dict[str, Any]:
    """What can be said of an experiment; what cannot be built is left out, the preflight says why.

    Returns:
        ``experiment``; ``data`` with its sizes; ``student`` and ``teacher``: classes, embedding, stages (C, H, W);
        ``pairs``: (student stage, teacher stage), from 0, where the method reads the teacher's stages; ``accuracy`` of
        the teacher on one validation batch of ``images``, 0..1, where it is trained already.
    """
    from kdengine import assembly
    from kdengine.methods import pair_stages

    found: dict[str, Any] = {"experiment": spec.label()}
    bundle = _try(lambda: assembly.load_data(spec, workspace))
    if bundle is None:
        return found
    classes = len(bundle.classes)
    sizes = {"train": len(bundle.train), "validation": len(bundle.validation), "test": len(bundle.test)}
    found["data"] = {"name": spec.data.name, "px": spec.data.image_size, "classes": classes} | sizes
    student = _try(lambda: assembly.build_backbone(spec.student, classes, spec.data.image_size).shapes())
    if student is not None:
        found["student"] = student._asdict()
    if spec.teacher is None:
        return found
    teacher = _try(lambda: _teacher(spec, workspace, bundle))
    if teacher is None:
        return found
    shapes, numbers = teacher
    found |= {"teacher": shapes._asdict()} | numbers
    if student is not None and "stages" in assembly.needs(spec).teacher:
        paired = _try(lambda: pair_stages(student, shapes))
        found["pairs"] = [(pair.student, pair.teacher) for pair in paired or ()]
    return found


def _try(action: Callable[[], T]) -> T | None:
    try:
        return action()
    except (KdError, RuntimeError):
        return None


def _teacher(spec: ExperimentSpec, workspace: Workspace, bundle: DatasetBundle) -> tuple[Shapes, dict[str, Any]]:
    """Shapes of the teacher, and its accuracy on one batch where it is trained already."""
    import torch

    from kdengine import assembly
    from kdengine.evaluation.accuracy import evaluate
    from kdengine.teachers.records import pinned

    assert spec.teacher is not None
    inner = pinned(spec, workspace).teacher.spec  # type: ignore[union-attr]
    source: assembly.TeacherSource | None
    if inner is None:
        source = assembly.find_teacher(spec, workspace)
    else:
        source = assembly.find_finished(workspace, inner.fingerprint())
        if source is None:
            model, size = inner.student, spec.data.image_size
            return assembly.build_backbone(model, len(bundle.classes), size).shapes(), {}
    assert source is not None
    device = torch.device("cpu")
    teacher = assembly.freeze_teacher(source, bundle, device, channels_last=False)
    shapes = teacher.shapes()
    if shapes.classes != len(bundle.classes):
        return shapes, {}
    batch = next(iter(assembly.evaluation_batches(spec, bundle, "validation", device).epoch(0)))
    result = evaluate(lambda x: teacher(x).logits, [batch])
    return shapes, {"accuracy": result.accuracy, "images": result.count}


# words ----------------------------------------------------------------------------------------------------------------


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("experiment", found["experiment"])]
    data = found.get("data")
    if data:
        text = f"{data['name']} at {data['px']} px: {data['classes']} classes, {data['train']:,} to train on"
        lines.append(("data", f"{text}, {data['validation']:,} for validation, {data['test']:,} to test"))
    for role in ("student", "teacher"):
        if role in found:
            lines.append((role, _shapes(found[role])))
    for ours, theirs in found.get("pairs", ()):
        student, teacher = found["student"]["stages"][ours], found["teacher"]["stages"][theirs]
        lines.append(
            ("paired", f"stage {ours + 1} {_times(student)} with the teacher's {theirs + 1} {_times(teacher)}")
        )
    if "accuracy" in found:
        text = f"{100 * found['accuracy']:.1f} % of one validation batch ({found['images']} images)"
        lines.append(("teacher is right for", text))
    elif "teacher" in found:
        lines.append(("teacher is right for", "not known: it is trained first, or does not fit"))
    return lines


def _shapes(shapes: dict[str, Any]) -> str:
    stages = ", ".join(map(_times, shapes["stages"])) or "none"
    return f"{shapes['classes']} classes, embedding {shapes['embedding']}, stages {stages}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
