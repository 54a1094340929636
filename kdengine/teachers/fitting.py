"""Fitting weights from elsewhere to an architecture: key by key, or by shape and order where the names are others."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from pydantic import ValidationError
from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone, build_model
from kdengine.registry import MODELS, UnknownName
from kdengine.spec.fields import at_neutral
from kdengine.teachers.renaming import COUNTER, rename, said

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Second heads that torchvision trains with and does not predict with.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
SHOWN = 4


def full_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of an architecture, those not given at their default; raises BadInput for what it does not have.

    Those that stand at the neutral value that they declare are left out: an import made before there were such is the
    same teacher.

    A net of timm or torchvision keeps the library's batch-norm numbers at any size: with other ones than it was trained
    with it would predict differently.
    """
    try:
        Params = MODELS.get(model).Params
    except UnknownName as error:
        raise BadInput(Problem("model", str(error))) from error
    published = {"batch_norm": "published"} if "/" in model else {}
    try:
        params = Params(**published | dict(options))
        return dict(params.model_dump(mode="json", exclude=set(at_neutral(params))))
    except ValidationError as error:
        known = ", ".join(Params.model_fields) or "none"
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise BadInput(Problem("option", f"{found} ({model} has the options: {known})")) from error


class Fitted(NamedTuple):
    """A network with weights from elsewhere in it.

    Attributes:
        backbone: in eval mode, on the CPU.
        options: the architecture's parameters with which they fit.
        notes: what had to be done for it, in words.
        names: name in the file -> name in the network's body, of every tensor but counters of batches.
    """

    backbone: Backbone
    options: dict[str, Any]
    notes: tuple[str, ...]
    names: dict[str, str]


class _Match(NamedTuple):
    """A network that the weights fit, its options, and the names that they go by there."""

    backbone: Backbone
    options: dict[str, Any]
    names: dict[str, str]


def fit(
    tensors: Mapping[str, Tensor],
    model: str,
    image_size: int,
    options: Mapping[str, Any],
    given: Container[str] = (),
) -> Fitted:
    """Builds the architecture with as many classes as the weights know, and loads them.

    A prefix that all or most keys share ("module.", "student.") is taken off. Where the names do not fit, the
    architecture's other options are tried (``shortcut=pad``), and names told from shapes and order (`renaming`): what
    was found stands in the notes. Half and double precision become float32.

    Args:
        tensors: name -> tensor, as the file has them.
        model, image_size: the architecture.
        options: all its parameters (`full_options`).
        given: names of those that a person chose; no others are tried for them.

    Raises:
        BadInput: keys missing, unexpected, of another shape or of no floating-point type, the first of each named;
            several ways in which the names could fit; numbers that are not finite, or too large for float32.
    """
    skeleton = _build(model, 2, image_size, options)
    state, notes = _without_auxiliary(*_without_prefix(tensors, skeleton.body.state_dict()))
    match, misfit = _exact(state, skeleton, model, image_size, options)
    if misfit:
        found = _otherwise(state, model, image_size, options, given)
        if found is None:
            raise BadInput(Problem("weights", f"these are not the weights of {model} at {image_size} px: {misfit}"))
        match = found
        notes = (*notes, *_said(match, options))
    backbone = match.backbone
    state = {match.names[name]: value for name, value in state.items() if name in match.names}
    state = _as_float32(state, backbone.body.state_dict())
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise BadInput(Problem("weights", f"not all numbers are finite as float32 in {', '.join(broken[:SHOWN])}"))
    backbone.body.load_state_dict(state, strict=False)  # only counters of batches can be missing by now
    return Fitted(backbone.eval(), match.options, notes, match.names)


def _exact(
    state: Mapping[str, Tensor], skeleton: Backbone, model: str, image_size: int, options: Mapping[str, Any]
) -> tuple[_Match, str]:
    """The network with as many classes as the row of the classifier's name, and what does not fit; "" when all does."""
    row = state.get(classifier_key(skeleton))
    count = row.shape[0] if row is not None and row.ndim == 2 else 2
    backbone = skeleton if count == 2 else _build(model, max(2, count), image_size, options)
    match = _Match(backbone, dict(options), {name: name for name in state})
    return match, _misfit(state, backbone.body.state_dict())


def _otherwise(
    state: Mapping[str, Tensor], model: str, image_size: int, options: Mapping[str, Any], given: Container[str]
) -> _Match | None:
    """The way in which weights fit that do not fit as they are; None where there is none.

    Raises:
        BadInput: there are several.
    """
    found: list[_Match] = []
    for changed in [dict(options), *_alternatives(model, options, given)]:
        skeleton = _build(model, 2, image_size, changed)
        match, misfit = _exact(state, skeleton, model, image_size, changed)
        if not misfit:
            return match
        found += [
            _Match(_build(model, max(2, classes), image_size, changed), changed, names)
            for classes, names in _renamed(state, skeleton)
        ]
    if len(found) > 1:
        ways = "; ".join(" and ".join(_said(way, options)) for way in found[:SHOWN])
        message = f"the names are not those of {model}, and by shapes they fit in {len(found)} ways: {ways}"
        raise BadInput(Problem("weights", message))
    return found[0] if found else None


def _alternatives(model: str, options: Mapping[str, Any], given: Container[str]) -> Iterator[dict[str, Any]]:
    """The options with one choice made otherwise; a net of a library has none that change its weights."""
    fields = {} if "/" in model else MODELS.get(model).Params.model_fields
    for name, field in fields.items():
        choices = (False, True) if field.annotation is bool else get_args(field.annotation)
        if name in given or (field.annotation is not bool and get_origin(field.annotation) is not Literal):
            continue
        now = options.get(name, field.default)
        yield from ({**options, name: choice} for choice in choices if choice != now)


def _renamed(state: Mapping[str, Tensor], skeleton: Backbone) -> Iterator[tuple[int, dict[str, str]]]:
    """The ways in which the names fit by shape and order, each with its number of classes."""
    expected = skeleton.body.state_dict()
    head, weight = classifier_key(skeleton).rpartition(".")[0], expected[classifier_key(skeleton)]
    alike = [value for value in state.values() if value.ndim == 2 and value.shape[1] == weight.shape[1]]
    for classes in sorted({value.shape[0] for value in alike}):
        sized = {
            name: value.new_empty((classes, *value.shape[1:])) if name.rpartition(".")[0] == head else value
            for name, value in expected.items()
        }
        names = rename(state, sized)
        if names is not None:
            yield classes, names


def _said(match: _Match, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What was found on the way, in words."""
    changed = [f"{name}={value}" for name, value in match.options.items() if options.get(name) != value]
    words = [f"the weights fit with {', '.join(changed)}"] if changed else []
    other = said(match.names, SHOWN)
    return (*words, f"names told from shapes and order: {other}") if other else tuple(words)


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
    missing = [f"{name} {shape_text(value)}" for name, value in expected.items() if name not in state]
    missing = [text for text in missing if COUNTER not in text]
    unexpected = [f"{name} {shape_text(value)}" for name, value in state.items() if name not in expected]
    other = [
        f"{name} {shape_text(state[name])} instead of {shape_text(value)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return "; ".join(f"{len(found)} {kind}: {_first(found)}" for kind, found in kinds if found)


def _first(found: Sequence[str]) -> str:
    return ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")


def shape_text(value: Tensor) -> str:
    """The shape of a tensor in words: 10x64, or scalar."""
    return "x".join(map(str, value.shape)) or "scalar"
