"""The computations behind the pages. They run in a worker process; only there is torch at work.

Every task takes the workspace and plain values and returns plain values (numbers, strings, bytes, PIL pictures).
"""

from __future__ import annotations

import base64
import gc
import io
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from kdengine.children import live_with_parent
from kdengine.errors import BadInput, KdError, Problem
from kdengine.machine.visible import ORDER
from kdengine.rundir import RunDirectory, short_id
from kdengine.teachers import records
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

SAMPLES = 12
SHOWN_LINES = 20
WATCH_S = 2.0


def start(server: int) -> None:
    """Runs once in the worker: Ctrl-C is the server's business, and no worker outlives a killed server."""
    for name, value in ORDER.items():
        os.environ.setdefault(name, value)
    live_with_parent(server, WATCH_S)


def run(task: str, home: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Runs a task; errors come back as plain values, so that nothing of them is lost between processes.

    Beside ``result``, ``problems`` or ``error`` it tells ``on_gpu``: whether this process has a CUDA context now.
    """
    try:
        answer = {"result": TASKS[task](Workspace(home), *arguments)}
    except BadInput as error:
        answer = {"problems": [(problem.field, problem.message) for problem in error.problems]}
    except KdError as error:
        answer = {"error": str(error)}
    except Exception as error:
        log.exception("the task %s failed", task)
        answer = {"error": f"{type(error).__name__}: {error}"}
    return answer | {"on_gpu": _tidy_up()}


def _tidy_up() -> bool:
    """Gives the memory on the GPU back that the task has freed; whether there is a context left, which only goes with
    the process."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    gc.collect()
    torch.cuda.empty_cache()
    return True


def warm(workspace: Workspace) -> None:
    """Imports what the other tasks need, before anybody waits for it."""
    import torchvision  # noqa: F401

    from kdengine import forecast as _  # noqa: F401


def prepare_tracking(workspace: Workspace) -> None:
    """Makes or migrates MLflow's database, so that the first run need not wait for it."""
    from kdengine import tracking

    try:
        tracking.prepare(workspace)
    except Exception as error:
        log.warning("MLflow's database could not be prepared: %s", error)


def samples(workspace: Workspace, data: dict[str, Any]) -> dict[str, Any]:
    """Facts and a few pictures of a data set (a mapping as in a spec); nothing is downloaded for it."""
    from kdengine.assembly import load_data
    from kdengine.data import sample_pictures
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_mapping({"data": data, "method": "none", "student": "resnet20"})
    from kdengine.registry import DATASETS

    definition = DATASETS.get(spec.data.name)
    if not definition.present(spec.data.params, workspace.datasets):
        return {"present": False, "summary": definition.summary, "classes": definition.class_count}
    bundle = load_data(spec, workspace)
    pictures, labels = sample_pictures(bundle, SAMPLES)
    return {
        "present": True,
        "summary": definition.summary,
        "classes": len(bundle.classes),
        "train": len(bundle.train),
        "validation": len(bundle.validation),
        "test": len(bundle.test),
        "pictures": [
            (data_url(Image.fromarray(p)), bundle.classes[label]) for p, label in zip(pictures, labels, strict=True)
        ],
    }


def check(workspace: Workspace, spec_yaml: str) -> None:
    """Everything that can be wrong with a spec short of downloading its data; BadInput names it all."""
    from kdengine.assembly import preflight
    from kdengine.registry import DATASETS
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_yaml(spec_yaml)
    if DATASETS.get(spec.data.name).present(spec.data.params, workspace.datasets):
        preflight(spec, workspace)


def forecast(workspace: Workspace, spec_yaml: str) -> dict[str, Any]:
    """What the run will cost, from a short measurement; ``beside`` says where that was not made on its device."""
    from kdengine.forecast import forecast as measure
    from kdengine.jobs.beside import beside_training
    from kdengine.spec import ExperimentSpec

    spec = ExperimentSpec.from_yaml(spec_yaml)
    place = beside_training(workspace, spec.runtime.device)
    return asdict(measure(spec, workspace, place.device)) | {"beside": place.why}


def launch(workspace: Workspace, spec_yamls: list[str], token: str) -> list[str]:
    """Queues the experiments; returns the ids of their students' jobs. The same token twice queues once."""
    from kdengine.jobs import ensure_supervisor
    from kdengine.launch import launch_all
    from kdengine.spec import ExperimentSpec

    ensure_supervisor(workspace)
    jobs = launch_all([ExperimentSpec.from_yaml(text) for text in spec_yamls], workspace, token=token)
    return [job.id for job in jobs if job.token]


def import_teacher(workspace: Workspace, request: dict[str, Any]) -> dict[str, Any]:
    """Keeps uploaded or published weights as a teacher; its name, and what was done for it in words.

    Args:
        workspace: where it is kept.
        request: ``name``, ``model``, ``path`` of a safetensors file (None: published weights), ``image_size``, and as
            text, which may be empty, ``classes`` (one a line), ``mean`` and ``std``.
    """
    from kdengine.teachers import weights
    from kdengine.teachers.published import fetch
    from kdengine.teachers.records import read_normalisation

    normalisation = read_normalisation(request["mean"], request["std"])
    classes = [line.strip() for line in request["classes"].splitlines() if line.strip()] or None
    if not request["model"]:
        raise BadInput(Problem("model", "name the architecture of the weights, e.g. timm/resnet18 or resnet8x4"))
    if not request["path"]:
        found = fetch(request["model"], workspace.cache / "published")
        mean, std = normalisation or (found.mean, found.std)
        incoming = weights.Incoming(
            name=request["name"], model=found.model, options={}, image_size=found.image_size, mean=mean, std=std,
            classes=classes or found.classes, source=found.source,
        )  # fmt: skip
        imported = weights.bring_in(workspace, incoming, found.state)
        return {"name": imported.name, "lines": list(imported.notes)}
    path = Path(request["path"])
    mean, std = normalisation or weights.IMAGENET
    incoming = weights.Incoming(
        name=request["name"], model=request["model"], options={}, image_size=request["image_size"], mean=mean, std=std,
        classes=classes, source=path.name,
    )  # fmt: skip
    imported = weights.bring_in(workspace, incoming, path)
    lines = [] if normalisation else ["no mean and std were given: ImageNet's are taken"]
    return {"name": imported.name, "lines": [*imported.notes, *lines]}


def check_teacher(workspace: Workspace, name: str, data: dict[str, Any], mend: bool) -> dict[str, Any]:
    """What an imported teacher knows of a data set, in words, and whether mending changes it; mends where asked to."""
    from kdengine.assembly import load_data
    from kdengine.registry import DATASETS
    from kdengine.spec import ExperimentSpec
    from kdengine.teachers import check

    imported = records.find(workspace, name, "name")
    sized = data | {"image_size": imported.image_size}
    spec = ExperimentSpec.from_mapping({"data": sized, "method": "none", "student": "resnet20"})
    if not DATASETS.get(spec.data.name).present(spec.data.params, workspace.datasets):
        return {"lines": [f"not checked: {spec.data.name} is not here yet"], "mendable": False}
    bundle = load_data(spec, workspace)
    found = check.check(imported, bundle)
    if mend:
        stored = check.mend(workspace, imported, bundle, found)
        return {"lines": [f"stored: {', '.join(stored.notes) or 'the class names of the data'}"], "mendable": False}
    check.remember(imported, found)
    return {"lines": list(found.lines), "mendable": found.knows and (found.mendable or not found.names)}


def begin_comparison(
    workspace: Workspace,
    name: str,
    mapping: dict[str, Any],
    methods: list[str],
    seeds: int,
    arms: list[str],
    cutmix: bool,
) -> int:
    """Checks and queues a comparison; how many runs. BadInput names every problem of every arm."""
    from kdengine.comparison.control import begin
    from kdengine.comparison.plan import make_plan
    from kdengine.jobs import ensure_supervisor

    count = begin(make_plan(name, mapping, methods, range(seeds), arms, cutmix=cutmix), workspace)
    ensure_supervisor(workspace)
    return count


def resume_comparison(workspace: Workspace, name: str) -> int:
    """Queues again what is missing, was stopped, lost or failed; how many runs."""
    from kdengine.comparison.control import queue_missing
    from kdengine.comparison.plan import load_plan
    from kdengine.jobs import ensure_supervisor

    count = queue_missing(load_plan(workspace, name), workspace)
    ensure_supervisor(workspace)
    return count


def measure_comparison(workspace: Workspace, name: str) -> int:
    """Measures fidelity, size and latency of one finished run that has none yet; how many are left."""
    from kdengine.comparison.measure import measure
    from kdengine.comparison.plan import load_plan
    from kdengine.comparison.progress import progress, unmeasured

    now = progress(load_plan(workspace, name), workspace)
    left = unmeasured(now)
    if left:
        measure(left[0], now.teacher, workspace)
    return max(0, len(left) - 1)


def begin_study(workspace: Workspace, asked: dict[str, Any]) -> str:
    """Checks and queues a study, as `studies.plan.read` takes it; its name. BadInput names every problem."""
    from kdengine.jobs import ensure_supervisor
    from studies.control import begin
    from studies.plan import read

    plan = read(asked)
    begin(plan, workspace)
    ensure_supervisor(workspace)
    return plan.name


def confirm_study(workspace: Workspace, name: str, seeds: int) -> int:
    """Queues best values and defaults of a study with fresh seeds; how many runs."""
    from kdengine.jobs import ensure_supervisor
    from studies import confirm, control

    count = confirm.begin(control.view(name, workspace), workspace, seeds)
    ensure_supervisor(workspace)
    return count


def classify(workspace: Workspace, run_ids: list[str], path: str, overlay: bool = False) -> list[dict[str, Any]]:
    """What students say to a picture file, and their teachers where there are some: model, size, top five, time.

    With ``overlay`` also ``pixels`` uint8 (S, S, 3), the picture as the network gets it, and ``map`` (H, W): Grad-CAM
    of its first choice, None for networks without maps.
    """
    from kdengine.evaluation.classifier import open_picture

    runs = [workspace.existing_run(run_id) for run_id in run_ids]
    picture = open_picture(Path(path))
    students = [run.id for run in runs]
    teachers = dict.fromkeys(teacher for run in runs if (teacher := _teacher_of(workspace, run)))
    asked = [("student", run_id) for run_id in students]
    asked += [("teacher", name) for name in teachers if name not in students and _weights_of(workspace, name).is_file()]
    return [_answer(workspace, role, name, picture, overlay) for role, name in asked]


def classify_all(
    workspace: Workspace, run_ids: list[str], sources: list[tuple[str, str]], target: str
) -> dict[str, Any]:
    """Asks students about many picture files and zips of them; writes a CSV.

    Returns:
        ``count``, ``refused``, and ``first``: the first lines as (file, one text a student, problem).
    """
    from kdengine.evaluation.many import classify_many, write_table

    students = {}
    for run_id in run_ids:
        run = workspace.existing_run(run_id)
        classifier = _classifier(str(workspace.root), run.id, run.student_file.stat().st_mtime)[0]
        students[f"{classifier.card.model} [{short_id(run.id)}]"] = classifier
    told: dict[str, Any] = {"students": list(students), "first": [], "refused": 0}

    def listening() -> Any:
        for line in classify_many(students, [(name, Path(path)) for name, path in sources]):
            told["refused"] += bool(line.problem)
            if len(told["first"]) < SHOWN_LINES:
                tops = [(line.answers[name].top[0] if name in line.answers else ("", 0.0)) for name in students]
                told["first"].append((line.file, tops, line.problem))
            yield line

    with Path(target).open("w", newline="", encoding="utf-8") as file:
        told["count"] = write_table(file, list(students), listening())
    return told


def what_to_inspect(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """What there is to look at of a run: epochs (all, and those with weights), views (all, recorded ones), classes."""
    from kdengine.inspection import looking, opening, store

    run = workspace.existing_run(run_id)
    return {
        "epochs": looking.epochs(run),
        "recorded": sorted(store.recorded_panels(run)),
        "weights": opening.epochs_with_weights(run),
        "views": [(panel.title, panel.name) for panel in looking.offered(workspace, run)],
        "classes": list(opening.data_of(workspace, run).classes),
    }


def inspect(workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
    """What a view of one run, or of two, shows.

    Args:
        workspace: of the runs.
        asked: ``run``, ``with`` (or None), ``what``, ``epoch``, and for other pictures than the recorded ones
            ``classes`` and ``count``, or ``files``.

    Returns:
        ``seen``: one or two `kdengine.figures.seen.Seen`; ``anchor``: arrays to lay out by; ``kind``, ``title``,
        ``sentence`` of the view; ``beside``: why what was not recorded is computed on the CPU, "" where it is not.
    """
    from kdengine.inspection import looking
    from kdengine.inspection.panels import panel
    from kdengine.jobs.beside import beside_training

    run, one = workspace.existing_run(asked["run"]), panel(asked["what"])
    pictures = None
    if asked.get("files") or asked.get("count"):
        files = tuple(Path(file) for file in asked.get("files") or ())
        pictures = looking.chosen(workspace, run, asked.get("count") or 1, tuple(asked.get("classes") or ()), files)
    first = looking.look(workspace, run, one.name, asked["epoch"], pictures)
    seen = [first]
    if asked.get("with"):
        other = workspace.existing_run(asked["with"])
        seen.append(looking.look_beside(workspace, other, one.name, asked["epoch"], first))
    laid_out = one.kind in ("graph", "plane")
    return {
        "seen": seen,
        "anchor": looking.anchor(workspace, run, one.name, pictures) if laid_out else {},
        "kind": one.kind,
        "title": one.title,
        "sentence": one.sentence,
        "beside": beside_training(workspace).why,
    }


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


def test_picture(workspace: Workspace, run_id: str, number: int) -> tuple[Image.Image, str]:
    """The ``number``-th test picture (wrapping around) of a run's data set, and its class."""
    bundle = _bundle(str(workspace.root), workspace.existing_run(run_id).id)
    index = number % len(bundle.test)
    return Image.fromarray(bundle.test.pictures([index])[0]), bundle.classes[int(bundle.test.labels[index])]


def data_url(picture: Image.Image) -> str:
    """A picture as a PNG inside a URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _answer(workspace: Workspace, role: str, run_id: str, picture: Image.Image, overlay: bool) -> dict[str, Any]:
    written = _weights_of(workspace, run_id).stat().st_mtime
    classifier, parameters, stored = _classifier(str(workspace.root), run_id, written)
    answer = classifier(picture)
    return {
        "role": role,
        "run": run_id,
        "model": classifier.card.model,
        "parameters": parameters,
        "bytes": stored,
        "top": answer.top,
        "milliseconds": answer.milliseconds,
    } | (_where_it_looks(classifier, picture) if overlay else {})


def _where_it_looks(classifier: Any, picture: Image.Image) -> dict[str, Any]:
    import torch

    from kdengine.evaluation.classifier import prepare, squared
    from kdengine.inspection.attention import grad_cam

    pictures = torch.from_numpy(prepare(picture, classifier.card)).to(classifier.device)
    found = grad_cam(classifier.backbone, lambda outputs: outputs.logits, -1, pictures)
    pixels = squared(picture, classifier.card.image_size)
    return {"pixels": pixels, "map": None if found is None else found[0].cpu().numpy()}


@lru_cache(maxsize=6)
def _classifier(home: str, run_id: str, written: float) -> tuple[Any, int, int]:
    """Kept ready; ``written`` makes a run that has trained on a new entry."""
    from kdengine.assembly import load_teacher
    from kdengine.evaluation.classifier import Classifier
    from kdengine.evaluation.cost import count_parameters

    workspace = Workspace(home)
    classifier = Classifier(load_teacher(_source(workspace, run_id)))
    classifier(Image.new("RGB", (8, 8)))  # the first call pays for set-up that is not the network's
    return classifier, count_parameters(classifier.backbone), _weights_of(workspace, run_id).stat().st_size


@lru_cache(maxsize=2)
def _bundle(home: str, run_id: str) -> Any:
    from kdengine.assembly import load_data_of

    workspace = Workspace(home)
    return load_data_of(workspace.run(run_id), workspace)


def export(workspace: Workspace, run_id: str, folder: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Writes the student of a run as files into a new folder; what was measured of each."""
    from kdengine.export import Request
    from kdengine.export import export as write

    return write(workspace.existing_run(run_id), workspace, Path(folder), Request(**wanted)).to_json()


TASKS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        warm,
        prepare_tracking,
        samples,
        check,
        forecast,
        launch,
        import_teacher,
        check_teacher,
        classify,
        classify_all,
        test_picture,
        export,
        begin_comparison,
        resume_comparison,
        measure_comparison,
        begin_study,
        confirm_study,
        what_to_inspect,
        inspect,
    )
}
