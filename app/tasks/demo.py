"""For the Demo page: networks classify one image, or many."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from kdengine.teachers import records
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory, short_id

SHOWN_LINES = 20
EXAMPLE_SIDE = 96


def classify(
    workspace: Workspace, run_ids: list[str], path: str, overlay: bool = False, alone: bool = False
) -> list[dict[str, Any]]:
    """What students, and their teachers where there are some, predict for an image file: model, size, top five, time.

    With ``overlay`` also ``pixels`` uint8 (S, S, 3), the image as the network gets it, and ``map`` (H, W): Grad-CAM
    of its predicted class, None for networks without maps. ``alone`` leaves the teachers out.
    """
    from kdengine.evaluation.classifier import open_image

    runs = [workspace.existing_run(run_id) for run_id in run_ids]
    image = open_image(Path(path))
    students = [run.id for run in runs]
    found = [] if alone else [_teacher_of(workspace, run) for run in runs]
    teachers = dict.fromkeys(teacher for teacher in found if teacher)
    networks = [("student", run_id) for run_id in students]
    networks += [
        ("teacher", name) for name in teachers if name not in students and _weights_of(workspace, name).is_file()
    ]
    return [_predict(workspace, role, name, image, overlay) for role, name in networks]


def classify_all(
    workspace: Workspace, run_ids: list[str], sources: list[tuple[str, str]], target: str
) -> dict[str, Any]:
    """Classifies many image files, and zips of them, with some students; writes a CSV. What lies in class folders is
    scored.

    Returns:
        ``count``; ``refused``: (file, problem) of each that could not be read; ``first``: the first lines as (file,
        one text a student); ``strange``: the number of images by each folder that is no class; ``scores``: by student
        what `Score` says, {} where nothing lies in class folders.
    """
    from kdengine.evaluation.many import classify_listed, listed, write_table
    from kdengine.evaluation.scoring import Score

    students = {}
    for run_id in run_ids:
        run = workspace.existing_run(run_id)
        classifier = _classifier(str(workspace.root), run.id, run.student_file.stat().st_mtime)[0]
        students[f"{classifier.card.model} [{short_id(run.id)}]"] = classifier
    classes = {name for classifier in students.values() for name in classifier.card.classes}
    found = listed(classes, [(name, Path(path)) for name, path in sources])
    scored = any(source.in_folders for source in found)
    scores = {name: Score(classifier.card.classes) for name, classifier in students.items()} if scored else {}
    summary: dict[str, Any] = {"students": list(students), "first": [], "refused": [], "strange": {}, "scores": scores}

    def counted() -> Any:
        for line in classify_listed(students, found):
            _count(summary, line)
            yield line

    with Path(target).open("w", newline="", encoding="utf-8") as file:
        summary["count"] = write_table(file, list(students), counted(), with_folders=scored)
    return summary | {"scores": {name: _plain(score) for name, score in scores.items()}}


def _plain(score: Any) -> dict[str, Any]:
    """A score without the module that it comes from: to read that, the page would import torch."""
    return {
        "classes": score.classes,
        "counts": score.counts,
        "images": score.images,
        "right": score.right,
        "mistakes": [vars(mistake) for mistake in score.mistakes],
    }


def _count(summary: dict[str, Any], line: Any) -> None:
    """Adds a line to the summary of `classify_all`."""
    if line.problem:
        summary["refused"].append((line.file, line.problem))
        return
    if len(summary["first"]) < SHOWN_LINES:
        summary["first"].append((line.file, [line.predictions[name].top[0] for name in summary["students"]]))
    if not line.folder or not summary["scores"]:
        return
    added = [
        score.add(line.file, line.folder, line.predictions[name], line.image)
        for name, score in summary["scores"].items()
    ]
    if not any(added):
        summary["strange"][line.folder] = summary["strange"].get(line.folder, 0) + 1


def examples(workspace: Workspace, run_id: str, count: int = 12) -> list[dict[str, Any]]:
    """Images of a run's data that it was not trained on, one of each class first: ``number``, ``pixels``, ``label``.

    ``number`` is what `test_image` takes; ``pixels`` uint8 (H, W, 3), at most `EXAMPLE_SIDE` wide.
    """
    import numpy as np

    from kdengine.data.bundle import sample_rows

    bundle = _bundle(str(workspace.root), workspace.existing_run(run_id).id)
    part = _held_out(bundle)
    rows = sample_rows(part, count)
    found = []
    for row, pixels in zip(rows.tolist(), part.take(rows), strict=True):
        image = Image.fromarray(pixels)
        image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
        found.append({"number": row, "pixels": np.asarray(image), "label": bundle.classes[int(part.labels[row])]})
    return found


def test_image(workspace: Workspace, run_id: str, number: int) -> tuple[Image.Image, str]:
    """The ``number``-th test image (wrapping around) of a run's data set, and its class."""
    bundle = _bundle(str(workspace.root), workspace.existing_run(run_id).id)
    part = _held_out(bundle)
    index = number % len(part)
    return Image.fromarray(part.take([index])[0]), bundle.classes[int(part.labels[index])]


def _held_out(bundle: Any) -> Any:
    """The test part; where there is none the validation part, else all there is."""
    return next(part for part in (bundle.test, bundle.validation, bundle.train) if len(part))


def _predict(workspace: Workspace, role: str, run_id: str, image: Image.Image, overlay: bool) -> dict[str, Any]:
    written = _weights_of(workspace, run_id).stat().st_mtime
    classifier, parameters, stored, latency = _classifier(str(workspace.root), run_id, written)
    prediction = classifier(image)
    return {
        "role": role,
        "run": run_id,
        "model": classifier.card.model,
        "parameters": parameters,
        "bytes": stored,
        "top": prediction.top,
        "latency": vars(latency),
        "device": classifier.device,
    } | (_class_activation_map(classifier, image) if overlay else {})


def _class_activation_map(classifier: Any, image: Image.Image) -> dict[str, Any]:
    import torch

    from kdengine.evaluation.classifier import prepare, squared
    from kdengine.inspection.attention import grad_cam

    images = torch.from_numpy(prepare(image, classifier.card)).to(classifier.device)
    found = grad_cam(classifier.backbone, lambda outputs: outputs.logits, -1, images)
    pixels = squared(image, classifier.card.image_size, classifier.card.ground)
    return {"pixels": pixels, "map": None if found is None else found[0].cpu().numpy()}


@lru_cache(maxsize=6)
def _classifier(home: str, run_id: str, written: float) -> tuple[Any, int, int, Any]:
    """A network, its parameters, its bytes and its latency, kept ready; ``written`` makes a run that has trained on a
    new entry."""
    from kdengine.assembly import load_teacher
    from kdengine.evaluation.classifier import Classifier
    from kdengine.evaluation.cost import blank_images, count_parameters
    from kdengine.evaluation.latency import latency_of

    workspace = Workspace(home)
    classifier = Classifier(load_teacher(_source(workspace, run_id)))
    blank = blank_images(classifier.backbone)
    latency = latency_of(lambda: classifier.backbone(blank), classifier.device)
    stored = _weights_of(workspace, run_id).stat().st_size
    return classifier, count_parameters(classifier.backbone), stored, latency


@lru_cache(maxsize=2)
def _bundle(home: str, run_id: str) -> Any:
    from kdengine.assembly import load_data_of

    workspace = Workspace(home)
    return load_data_of(workspace.run(run_id), workspace)


def _teacher_of(workspace: Workspace, run: RunDirectory) -> str | None:
    """Id of the teacher's run, or import:NAME; None without one."""
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_yaml(run.spec_text())
    if spec.teacher is not None and spec.teacher.imported is not None:
        return records.PREFIX + spec.teacher.imported
    return run.status().get("teacher_run")


def _source(workspace: Workspace, name: str) -> RunDirectory | records.Imported:
    if name.startswith(records.PREFIX):
        return records.find(workspace, name.removeprefix(records.PREFIX))
    return workspace.run(name)


def _weights_of(workspace: Workspace, name: str) -> Path:
    source = _source(workspace, name)
    return source.weights_file if isinstance(source, records.Imported) else source.student_file
