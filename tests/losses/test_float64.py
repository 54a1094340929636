"""Every loss, the moment it is written: float64 stays, the gradient is right, and half precision never sticks.

The functions are found in the files of `kdengine.losses`, their arguments by name. A new loss whose arguments have the
usual names is tested without a word here; one with others fails and says which example is missing.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import kdengine.losses

BATCH, CLASSES, WIDTH, CHANNELS, SIDE = 5, 4, 3, 2, 4


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def unit(*shape: int) -> Tensor:
    return F.normalize(normal(*shape), dim=1)


def positive(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.1


EXAMPLES: dict[str, Callable[[], Any]] = {
    "student": lambda: normal(BATCH, CLASSES),
    "teacher": lambda: normal(BATCH, CLASSES),
    "logits": lambda: normal(BATCH, CLASSES),
    "target": lambda: torch.arange(BATCH) % CLASSES,
    "temperature": lambda: 1.7,
    "temperatures": lambda: [0.8, 1.7],
    "alpha": lambda: 1.3,
    "beta": lambda: 0.7,
    "gamma": lambda: 0.4,
    "confidence": lambda: 0.9,
    "samples": lambda: 20,
    "share": lambda: 0.5,
    "sharpness": lambda: 2.0,
    "taken": lambda: None,
    "weight": lambda: positive(BATCH),
    "neighbours": lambda: 0,
    "dim": lambda: 0,
    "size": lambda: (2, 2),
    "s": lambda: normal(BATCH, WIDTH),
    "t": lambda: normal(BATCH, WIDTH + 1),
    "feature": lambda: normal(BATCH, CHANNELS, SIDE, SIDE),
    "features": lambda: normal(BATCH, WIDTH),
    "maps": lambda: normal(BATCH, CHANNELS, SIDE, SIDE),
    "attention": lambda: positive(BATCH, SIDE, SIDE),
    "region": lambda: torch.rand(BATCH, SIDE, SIDE, dtype=torch.float64),
    "threshold": lambda: None,
    "nodes": lambda: unit(BATCH, WIDTH),
    "probabilities": lambda: normal(BATCH, CLASSES).softmax(1),
    "first": lambda: normal(BATCH, CLASSES).softmax(1),
    "second": lambda: normal(BATCH, CLASSES).softmax(1),
    "scores": lambda: normal(BATCH),
    "values": lambda: normal(BATCH),
    "anchor": lambda: unit(BATCH, WIDTH),
    "drawn": lambda: unit(BATCH + 2, WIDTH),
    "positive": lambda: normal(BATCH),
    "negative": lambda: normal(BATCH, WIDTH),
    "classes": lambda: CLASSES,
    "dtype": lambda: torch.float64,
}

MAPS = {name: EXAMPLES["maps"] for name in ("student", "teacher")}
OTHERS: dict[str, dict[str, Callable[[], Any]]] = {
    "at.attention_transfer": MAPS,
    "review_kd.hierarchical_context": MAPS,
    "graph.relation_divergence": {name: EXAMPLES["nodes"] for name in ("student", "teacher")},
    "regions.region_distance": {name: EXAMPLES["attention"] for name in ("student", "teacher")},
    "crd.log_densities": {"positive": EXAMPLES["anchor"]},
    "crd.noise_contrastive": {"taken": lambda: torch.rand(BATCH, WIDTH) > 0.3},
    "divergences.kd_of_some": {"taken": lambda: torch.tensor([True, False, True, True, False])},
}
"""Arguments that mean something else than the usual by their name."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "class_alignment.class_alignment": [{"kind": "pearson"}, {"kind": "gram"}],
    "graph.sample_graph": [{"neighbours": 2}],
    "graph.node_alignment": [{"weight": None}],
    "multi_level.instance_level": [{"taken": torch.tensor([1.0, 0, 1, 1, 0]).double()}],
    "multi_level.batch_level": [{"taken": torch.tensor([1.0, 0, 1, 1, 0]).double()}],
    "multi_level.class_level": [{"taken": torch.tensor([1.0, 0, 1, 0]).double()}],
    "relations.unit_deviations": [{"dim": 1}],
    "relations.pearson_distance": [{"dim": 1}],
}

NO_LOSS = {"relations.full_precision", "relations.groups", "relations.in_groups"}
CHOSEN = {"regions.hard_mask", "multi_level.least_sure", "tf_kd.virtual_teacher", "graph.sample_graph-neighbours=2"}
"""They give no gradient: what they compute is a choice."""


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for found in pkgutil.iter_modules(kdengine.losses.__path__):
        module = importlib.import_module(f"kdengine.losses.{found.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            key = f"{found.name}.{name}"
            if function.__module__ == module.__name__ and not name.startswith("_") and key not in NO_LOSS:
                yield key, function


def cases() -> Iterator[Any]:
    for key, function in functions():
        yield pytest.param(key, function, {}, id=key)
        for variant in VARIANTS.get(key, []):
            (name,) = variant
            value = "given" if isinstance(variant[name], Tensor) else variant[name]
            yield pytest.param(f"{key}-{name}={value}", function, variant, id=f"{key}-{name}={value}")


CASES = list(cases())


def arguments(key: str, function: Callable[..., Any], variant: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    own = OTHERS.get(key.partition("-")[0], {})
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in variant:
            found[name] = variant[name]
        elif make := own.get(name) or EXAMPLES.get(name):
            found[name] = make()
        elif parameter.default is not inspect.Parameter.empty:
            found[name] = parameter.default
        else:
            pytest.fail(f"{key} takes {name!r}, of which there is no example: add one to EXAMPLES or OTHERS")
    return found


def in_dtype(values: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    def cast(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float32
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return {name: cast(value) for name, value in values.items()}


def outputs(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_the_losses_are_found() -> None:
    keys = {key for key, _ in functions()}
    assert {"kd.kd", "dkd.dkd", "regions.soft_mask", "graph.sample_graph"} <= keys
    exported = {getattr(kdengine.losses, name) for name in kdengine.losses.__all__}
    tested = {function for _, function in functions()}
    assert {function.__name__ for function in exported - tested} == {"in_groups"}


@pytest.mark.parametrize(("key", "function", "variant"), CASES)
def test_float64_stays_and_the_gradient_is_the_one_of_finite_differences(
    key: str, function: Callable[..., Any], variant: dict[str, Any]
) -> None:
    given = arguments(key, function, variant)
    free = [name for name, value in given.items() if isinstance(value, Tensor) and value.is_floating_point()]
    values = [given[name].clone().requires_grad_() for name in free]

    def value(*tensors: Tensor) -> tuple[Tensor, ...]:
        return outputs(function(**given | dict(zip(free, tensors, strict=True))))

    found = value(*values)
    assert {one.dtype for one in found} == {torch.float64}
    assert all(bool(torch.isfinite(one).all()) for one in found)
    if key in CHOSEN:
        assert not any(one.requires_grad for one in found)
        return
    assert torch.autograd.gradcheck(value, values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize(("key", "function", "variant"), CASES)
def test_under_autocast_half_precision_is_left_at_the_door(
    key: str, function: Callable[..., Any], variant: dict[str, Any], dtype: torch.dtype
) -> None:
    """The value is the one of the same (rounded) numbers in float32, and the result is float32."""
    given = in_dtype(arguments(key, function, variant), dtype)
    wanted = outputs(function(**in_dtype(given, torch.float32)))
    with torch.autocast("cpu", dtype=dtype):
        for one, other in zip(outputs(function(**given)), wanted, strict=True):
            assert one.dtype == torch.float32
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        # As a method hands them over that has been in float32 since the network: autocast is on all the same.
        for one, other in zip(outputs(function(**in_dtype(given, torch.float32))), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), kdengine.losses.RENAMED.items())
def test_an_old_name_works_and_tells_the_new(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"losses.{old} is now called {new}"):
        assert getattr(kdengine.losses, old) is getattr(kdengine.losses, new)
