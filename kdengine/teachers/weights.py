"""Weights from elsewhere: read as safetensors only, fitted to an architecture (`fitting`), kept as an import."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdengine.errors import BadInput, KdError, Problem
from kdengine.models.backbone import Backbone, build_model
from kdengine.models.stored import ModelCard, read_tensors, read_weights, write_tensors
from kdengine.teachers import records
from kdengine.teachers.fitting import Fitted, fit, full_options
from kdengine.teachers.records import Imported, Rgb
from kdengine.workspace import Workspace, files

IMAGENET: tuple[Rgb, Rgb] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
PICKLE_SIGNS = (b"PK\x03\x04", b"\x80")
# What a person runs where they trust the file: of all that a checkpoint holds, the one mapping with the most tensors.
# Options and NumPy numbers beside the tensors (argparse, metrics) are let in by name; nothing else of a pickle is run.
CONVERSION = """    import argparse, numpy, torch
    from safetensors.torch import save_file
    scalar = numpy.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals([
        argparse.Namespace, numpy.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"), *(type(numpy.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
    ])
    def nets(found, place="the file"):
        if isinstance(found, dict):
            tensors = {{k: v for k, v in found.items() if isinstance(v, torch.Tensor)}}
            yield sum(v.ndim > 0 for v in tensors.values()), place, tensors
            for key, value in found.items():
                yield from nets(value, f"{{place}}[{{key!r}}]")
    loaded = torch.load({name!r}, map_location="cpu", weights_only=True)
    _, place, tensors = max(nets(loaded), key=lambda found: found[0])
    save_file({{k: v.clone().contiguous() for k, v in tensors.items()}}, {target!r})
    print(len(tensors), "tensors of", place)"""
SIZES = (8, 1024)
MIN_STD = 1e-3


@dataclass(frozen=True)
class Incoming:
    """What a person says of the weights they bring.

    Attributes:
        name: under which it is kept.
        model: catalog name, ``timm/<name>`` or ``torchvision/<name>``.
        options: the architecture's own parameters.
        image_size: side of the images it was trained with, in pixels.
        mean, std: normalisation it was trained with, in units of 0..1 pixel values.
        classes: names in the order of its logits; None when nobody has them.
        source: where the weights come from, in words.
    """

    name: str
    model: str
    image_size: int
    mean: Rgb
    std: Rgb
    options: Mapping[str, Any]
    classes: Sequence[str] | None = None
    source: str = ""


def bring_in(workspace: Workspace, incoming: Incoming, state: Path | Mapping[str, Tensor]) -> Imported:
    """Fits weights to their architecture and keeps them as an imported teacher.

    Args:
        workspace: where it is kept.
        incoming: what they are.
        state: a safetensors file, or the tensors by name.

    Raises:
        BadInput: name taken, architecture unknown, a pickle, keys that do not fit (named), names of another number.
    """
    records.check_free(workspace, incoming.name)
    backbone, options, notes, _ = look(incoming, state)
    count = backbone.classifier.out_features
    classes = tuple(incoming.classes or ())
    if classes and len(classes) != count:
        message = f"found {len(classes)} class names, but the classifier of these weights has {count} rows"
        raise BadInput(Problem("classes", message))
    place = Path(tempfile.mkdtemp(dir=_made(workspace.cache)))
    try:
        write_tensors(place / records.WEIGHTS, backbone.body.state_dict())
        imported = Imported(
            path=records.folder(workspace, incoming.name, "name"),
            model=incoming.model,
            options=options,
            classes=classes or tuple(f"class {number}" for number in range(count)),
            named=bool(classes),
            image_size=incoming.image_size,
            mean=incoming.mean,
            std=incoming.std,
            weights=files.digest(place / records.WEIGHTS),
            source=incoming.source,
            notes=notes,
        )
        return records.keep(workspace, imported, place / records.WEIGHTS)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def look(incoming: Incoming, state: Path | Mapping[str, Tensor]) -> Fitted:
    """The network with the weights in it, and what had to be done for it; nothing is kept.

    Raises:
        BadInput: as `bring_in`.
    """
    _check_numbers(incoming)
    options = full_options(incoming.model, incoming.options)
    tensors = read_foreign(state) if isinstance(state, Path) else dict(state)
    return fit(tensors, incoming.model, incoming.image_size, options, given=incoming.options)


def load(imported: Imported) -> tuple[Backbone, ModelCard]:
    """The teacher's network in eval mode on the CPU, its class order corrected where that was asked for, and its card.

    Raises:
        KdError: the file is damaged, or is not the one that was imported.
    """
    if not imported.weights_file.is_file() or files.digest(imported.weights_file) != imported.weights:
        raise KdError(f"{imported.weights_file} is missing or was changed since it was imported; import it again")
    backbone = build_model(imported.model, len(imported.classes), imported.image_size, **imported.options)
    read_weights(imported.weights_file, backbone)
    if imported.order is not None:
        reorder(backbone, imported.order)
    card = ModelCard(
        model=imported.model,
        options=imported.options,
        classes=imported.classes,
        image_size=imported.image_size,
        mean=imported.mean,
        std=imported.std,
        fingerprint=imported.digest,
    )
    return backbone.eval(), card


@torch.no_grad()
def reorder(backbone: Backbone, order: Sequence[int]) -> None:
    """Gives class c the classifier's row ``order[c]``, for all of its C classes, in place."""
    rows = torch.tensor(order)
    for parameter in backbone.classifier.parameters():
        parameter.copy_(parameter[rows])


def _check_numbers(incoming: Incoming) -> None:
    problems = []
    if not all(0 <= value <= 1 for value in incoming.mean):
        problems.append(Problem("mean", f"found {incoming.mean}, expected 0..1: of pixels divided by 255"))
    if not all(MIN_STD <= value <= 1 for value in incoming.std):
        message = f"found {incoming.std}, expected {MIN_STD} to 1: of pixels divided by 255"
        problems.append(Problem("std", message))
    low, high = SIZES
    if not low <= incoming.image_size <= high:
        problems.append(Problem("image_size", f"found {incoming.image_size} px, expected {low} to {high}"))
    if incoming.classes is not None and len(set(incoming.classes)) < 2:
        problems.append(Problem("classes", "found fewer than two different class names; give one a line"))
    if problems:
        raise BadInput(problems)


def _made(path: Path) -> Path:
    with files.disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


# reading --------------------------------------------------------------------------------------------------------------


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises BadInput for anything else, for a pickle with the way out of it."""
    if not path.is_file():
        raise BadInput(Problem("weights", f"there is no file {path}"))
    if not _is_safetensors(path) and _looks_like_a_pickle(path):
        target = path.with_suffix(".safetensors").name
        message = (
            f"{path.name} is a pickle, which can run any program when it is read; it is not opened here. "
            "Turn it into safetensors yourself, where you trust it, with these lines:\n"
        )
        raise BadInput(Problem("weights", message + CONVERSION.format(name=path.name, target=target)))
    try:
        return read_tensors(path)
    except KdError as error:
        raise BadInput(Problem("weights", str(error))) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as the format says: the length of a header in eight bytes, and a header that is JSON.

    The first byte alone says nothing: one length in 256 begins as a pickle does.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(1) == b"{" and 8 + length <= path.stat().st_size


def _looks_like_a_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in PICKLES or file.read(4).startswith(PICKLE_SIGNS)
