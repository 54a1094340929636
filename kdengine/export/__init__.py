"""A trained student as files to take away: safetensors or ONNX, checked on real images, with a model card.

Nothing of the method is left in them. What is written is read again and compared with the network in PyTorch before the
folder gets its name: a folder that is there holds files that work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from kdengine import assembly, extras
from kdengine.errors import BadInput, Problem
from kdengine.evaluation.cost import count
from kdengine.export import library, parity, pieces, readme
from kdengine.export.request import Exported, Request
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, card_of, load_network, load_student, read_card, write_card
from kdengine.spec import ExperimentSpec
from kdengine.training.hardware import Precision, describe
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

__all__ = ["Exported", "Request", "export", "load"]

CARD = "model_card.json"
CALIBRATION_IMAGES = 512
CPU = torch.device("cpu")


def export(
    run: RunDirectory,
    workspace: Workspace,
    folder: Path,
    request: Request,
    say: Callable[[str], object] = lambda line: None,
) -> Exported:
    """Writes the student of a run into a folder of its own.

    Args:
        run: a finished run.
        workspace: where its data lie.
        folder: made here; may exist when it is empty.
        request: what to write.
        say: called with one line for each thing that takes a while.

    Raises:
        BadInput: run not finished, folder in use, options that do not go together; every problem, nothing written.
        KdError: a written file computes other logits than the network in PyTorch; nothing is left behind.
    """
    _check(run, folder, request)
    if request.format != "safetensors":
        extras.require("onnx", "onnxruntime", "onnxscript")
    spec = ExperimentSpec.from_yaml(run.spec_text())
    bundle = assembly.load_data_of(run, workspace)
    student, card = load_student(run, last=request.last)
    method = assembly.load_with_exits(run)[1] if request.exits else None
    test = list(assembly.evaluation_batches(spec, bundle, "test", CPU, request.images).epoch(0))
    calibration = assembly.evaluation_batches(spec, bundle, "train", CPU, CALIBRATION_IMAGES).epoch(0)
    with files.made_whole(folder) as place:
        wanted = pieces.of(request, student, card, method, (batch.image for batch in calibration))
        measured = parity.try_out(wanted, student, place, test, say)
        if request.exits and request.format == "safetensors":
            shutil.copyfile(run.method_file, place / pieces.EXITS)
        loading = library.loading(student, card, place / pieces.WEIGHTS) if request.format == "safetensors" else None
        images = sum(len(batch.target) for batch in test)
        hardware = describe(CPU, 1, Precision())["device_name"]
        exported = Exported(run.id, folder, request, bundle.name, images, hardware, measured, loading)
        write_card(place / CARD, card)
        shutil.copyfile(run.spec_file, place / "spec.yaml")
        files.write_json(place / "export.json", exported.to_json())
        files.write_text(place / "README.md", readme.text(exported, card, spec, run.status(), count(student)))
    return exported


def load(folder: Path) -> tuple[Backbone, ModelCard]:
    """Network, in eval mode on the CPU, and card of a folder of safetensors; raises BadInput when it is none."""
    content = files.read_json(folder / CARD)
    if content is None or not (folder / pieces.WEIGHTS).is_file():
        message = f"{folder} is no export of safetensors ({CARD} and {pieces.WEIGHTS} belong in it)"
        raise BadInput(Problem("folder", message))
    card = card_of(content)
    return load_network(card, folder / pieces.WEIGHTS), card


def _has_exits(run: RunDirectory) -> bool:
    return assembly.has_exits(ExperimentSpec.from_yaml(run.spec_text()), len(read_card(run).classes))


def _check(run: RunDirectory, folder: Path, request: Request) -> None:
    problems = request.problems()
    finished = run.state() == State.FINISHED
    if not finished:
        message = f"the run {run.id} is {run.state()}; only a finished run has its numbers on test"
        problems.append(Problem("run", message))
    if request.exits and finished and not _has_exits(run):
        message = f"the run {run.id} has no exits beside the deployed one; self-distillation such as light_self has"
        problems.append(Problem("--exits", message))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problems.append(Problem("--out", f"{folder} exists already; name another folder, or remove it first"))
    if problems:
        raise BadInput(problems)
