"""Weights from elsewhere: read as safetensors only, fitted to an architecture key by key, kept as an import."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from kdengine.errors import BadInput, KdError, Problem
from kdengine.models.backbone import Backbone, build_model
from kdengine.models.stored import ModelCard, read_tensors, read_weights, write_tensors
from kdengine.registry import MODELS, UnknownName
from kdengine.teachers import records
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
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Second heads that torchvision trains with and does not predict with.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
COUNTER = "num_batches_tracked"
SHOWN = 4


class Fitted(NamedTuple):
    """A network with the weights in it, in eval mode, and what had to be done for it, in words."""

    backbone: Backbone
    notes: tuple[str, ...]


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
    _check_numbers(incoming)
    options = full_options(incoming.model, incoming.options)
    tensors = read_foreign(state) if isinstance(state, Path) else dict(state)
    backbone, notes = fit(tensors, incoming.model, incoming.image_size, options)
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


def full_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of an architecture, those not given at their default; raises BadInput for what it does not have.

    A net of timm or torchvision keeps the library's batch-norm numbers at any size: with other ones than it was trained
    with it would predict differently.
    """
    try:
        Params = MODELS.get(model).Params
    except UnknownName as error:
        raise BadInput(Problem("model", str(error))) from error
    published = {"batch_norm": "published"} if "/" in model else {}
    try:
        return dict(Params(**published | dict(options)).model_dump(mode="json"))
    except ValidationError as error:
        known = ", ".join(Params.model_fields) or "none"
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise BadInput(Problem("option", f"{found} ({model} has the options: {known})")) from error


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


# fitting --------------------------------------------------------------------------------------------------------------


def fit(tensors: Mapping[str, Tensor], model: str, image_size: int, options: Mapping[str, Any]) -> Fitted:
    """Builds the architecture with as many classes as the weights know, and loads them.

    A prefix that all or most keys share ("module.", "student.") is taken off. Half and double precision become float32.

    Raises:
        BadInput: keys missing, unexpected, of another shape or of no floating-point type, the first of each named;
            numbers that are not finite, or too large for float32.
    """
    skeleton = _build(model, 2, image_size, options)
    state, notes = _without_auxiliary(*_without_prefix(tensors, skeleton.body.state_dict()))
    row = state.get(classifier_key(skeleton))
    count = row.shape[0] if row is not None and row.ndim == 2 else 2
    backbone = _build(model, max(2, count), image_size, options)
    misfit = _misfit(state, backbone.body.state_dict())
    if misfit:
        raise BadInput(Problem("weights", f"these are not the weights of {model} at {image_size} px: {misfit}"))
    state = _as_float32(state, backbone.body.state_dict())
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise BadInput(Problem("weights", f"not all numbers are finite as float32 in {', '.join(broken[:SHOWN])}"))
    backbone.body.load_state_dict(state, strict=False)  # only counters of batches can be missing by now
    return Fitted(backbone.eval(), notes)


def _as_float32(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in the precision they will have; raises BadInput for what are no real numbers."""
    wrong = [
        f"{name} is {str(value.dtype).removeprefix('torch.')}"
        for name, value in state.items()
        if expected[name].is_floating_point() and value.dtype not in FLOATS
    ]
    if wrong:
        message = f"expected float32, float16, bfloat16 or float64, found {len(wrong)} others: {_first(wrong)}"
        raise BadInput(Problem("weights", message))
    return {name: value.float() if expected[name].is_floating_point() else value for name, value in state.items()}


def _build(model: str, classes: int, image_size: int, options: Mapping[str, Any]) -> Backbone:
    try:
        return build_model(model, classes, image_size, **options)
    except BadInput as error:
        # The architecture speaks of a student's settings; here there are only these two.
        problems = [(problem.field.endswith("image_size"), problem.message) for problem in error.problems]
        raise BadInput([Problem("image_size" if size else "model", message) for size, message in problems]) from error


def classifier_key(backbone: Backbone) -> str:
    """Name of the classifier's weight within the body."""
    return next(f"{name}.weight" for name, module in backbone.body.named_modules() if module is backbone.classifier)


def _without_prefix(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Takes off the prefix under which most of the expected keys are found."""
    hits: dict[str, int] = {"": 0}
    for name in tensors:
        # The longest expected key that ends it: "layer1.0.conv1.weight" ends in "conv1.weight" too.
        parts = name.split(".")
        start = next((number for number in range(len(parts)) if ".".join(parts[number:]) in expected), None)
        if start is not None:
            prefix = "".join(f"{part}." for part in parts[:start])
            hits[prefix] = hits.get(prefix, 0) + 1
    prefix = max(hits, key=lambda found: (hits[found], not found))
    if not prefix:
        return dict(tensors), ()
    equals = [other for other in hits if other not in ("", prefix) and hits[other] == hits[prefix]]
    if equals:
        message = f"two nets of that architecture are in the file, under {prefix!r} and {equals[0]!r}; keep one of them"
        raise BadInput(Problem("weights", message))
    state = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return state, (f"the prefix {prefix!r} was taken off {hits[prefix]} keys",)


def _without_auxiliary(state: dict[str, Tensor], notes: tuple[str, ...]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    extra = [name for name in state if name.startswith(AUXILIARY)]
    if not extra:
        return state, notes
    kept = {name: value for name, value in state.items() if name not in extra}
    return kept, (*notes, f"{len(extra)} keys of auxiliary heads were left out")


def _misfit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What does not fit, the first keys of each kind with their shapes; "" when all does."""
    missing = [f"{name} {_shape(value)}" for name, value in expected.items() if name not in state]
    missing = [text for text in missing if COUNTER not in text]
    unexpected = [f"{name} {_shape(value)}" for name, value in state.items() if name not in expected]
    other = [
        f"{name} {_shape(state[name])} instead of {_shape(value)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return "; ".join(f"{len(found)} {kind}: {_first(found)}" for kind, found in kinds if found)


def _first(found: Sequence[str]) -> str:
    return ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
