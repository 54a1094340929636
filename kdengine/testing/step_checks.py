"""What every method promises of a training step: on a GPU, recorded as a CUDA graph, and computed in parts.

No GPU is needed: a stand-in (`kdengine.testing.fake_gpu`) has real numbers and the rules of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdengine.methods import Term, get_method
from kdengine.testing.trial import Trial, TrialBatch, total, trial_of
from kdengine.training.accumulation import in_parts
from kdengine.training.capture import WARM_UP, CapturedStep, CudaRecorder

GPU = torch.device("cuda")
STEPS = WARM_UP + 3
PARTS = 2
APART = 1e-4
"""Largest difference of a gradient, relative to the largest one, that rounding in float32 may explain."""


def a_gpu_computes_what_the_cpu_computes(name: str) -> None:
    """Three steps, each on another batch; nothing is left on the other device."""
    wanted = _plain_steps(trial_of(name), 3)
    with _gpu():
        found = _plain_steps(trial_of(name, device=GPU), 3)
    for number, (one, other) in enumerate(zip(wanted, found, strict=True), 1):
        for key, value in one.items():
            message = f"the term {key!r} of step {number} is {other[key]:.6g} on a GPU, {value:.6g} on the CPU"
            assert abs(value - other[key]) <= 1e-3 * abs(value) + 1e-6, message


def a_step_can_be_recorded_for_a_gpu(name: str) -> None:
    """Of a method that is ``capturable``: what a CUDA graph replays is what a plain step does, bit for bit."""
    method = get_method(name)
    if not method.capturable(method.Params()):
        return
    with _gpu():
        wanted = _plain_steps(trial_of(name, device=GPU), STEPS)
        found = _recorded_steps(trial_of(name, device=GPU), STEPS)
    different = [key for one, other in zip(wanted, found, strict=True) for key in one if one[key] != other[key]]
    assert not different, (
        f"replayed, the terms {sorted(set(different))} differ from those of plain steps: something was baked in; "
        "let capturable return False, or compute it from tensors"
    )


def a_batch_in_parts_teaches_what_the_whole_does(name: str) -> None:
    """Of a method that says ``batch_relations=""``: gradients add up over parts to those of the whole batch."""
    method = get_method(name)
    if method.requires(method.Params()).batch_relations:
        return
    whole, parted = (_with_fixed_statistics(trial_of(name, batch_size=12)) for _ in range(2))
    wanted = whole.terms()
    total(wanted).backward()

    def learn(part: Any, share: float) -> dict[str, Term]:
        terms: dict[str, Term] = parted.method(part, parted.student, parted.teacher, parted.clock)
        (share * total(terms)).backward()
        return {key: term.detached() for key, term in terms.items()}

    found = in_parts(parted.method.prepare(parted.batch), PARTS, learn)
    for key, term in wanted.items():
        near = torch.isclose(found[key].weighted, term.weighted, rtol=1e-3, atol=1e-7)
        assert near, (
            f"the term {key!r} is {term.weighted.item():.4g} of a batch and {found[key].weighted.item():.4g} of its "
            f"{PARTS} parts: what relates its images? Say it in batch_relations"
        )
    pairs = [(_gradient(one), _gradient(other)) for one, other in zip(*map(_parameters, (whole, parted)), strict=True)]
    largest = max(float(one.abs().max()) for one, _ in pairs)
    apart = max(float((one - other).abs().max()) for one, other in pairs)
    assert apart <= APART * largest, (
        f"a batch in {PARTS} parts gives other gradients than the whole, by {apart / largest:.1g} of the largest: "
        "what relates its images? Say it in batch_relations"
    )


@contextlib.contextmanager
def _gpu() -> Iterator[None]:
    # Not at the top: it patches what PyTorch does not promise to keep, and only these checks should mind.
    from kdengine.testing.fake_gpu import fake_gpu

    with fake_gpu():
        yield


def _batch_of_step(trial: Trial, number: int) -> TrialBatch:
    """The trial's batch, each view shifted; drawn on the host, so that every device sees the same."""
    torch.manual_seed(number)
    views = tuple(view + torch.randn(view.shape).to(view.device) for view in trial.batch.views)
    return replace(trial.batch, views=views)


def _plain_steps(trial: Trial, count: int) -> list[dict[str, float]]:
    return _steps(trial, count, lambda batch, _: _learn(trial, batch))


def _recorded_steps(trial: Trial, count: int) -> list[dict[str, float]]:
    return _steps(trial, count, CapturedStep(lambda batch, _: _learn(trial, batch), CudaRecorder(GPU)))


def _steps(trial: Trial, count: int, step: Any) -> list[dict[str, float]]:
    """The weighted terms of so many steps."""
    found = []
    for number in range(count):
        batch = trial.method.prepare(_batch_of_step(trial, number))
        found.append({key: term.weighted.item() for key, term in step(batch, None).items()})
    return found


def _learn(trial: Trial, batch: Any) -> dict[str, Term]:
    """A step of plain gradient descent; the terms, without gradients."""
    for parameter in trial.parameters():
        parameter.grad = None
    terms: dict[str, Term] = trial.method(batch, trial.student, trial.teacher, trial.clock)
    total(terms).backward()
    with torch.no_grad():
        for parameter in trial.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-3)
    return {key: term.detached() for key, term in terms.items()}


def _with_fixed_statistics(trial: Trial) -> Trial:
    """Batch normalisation keeps to the statistics of the whole batch: those of a part are by nature others."""
    norms = [
        module
        for module in (*trial.student.modules(), *trial.method.modules())
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    for module in norms:
        module.momentum = 1.0
    with torch.no_grad():
        trial.terms()
    for module in norms:
        module.eval()
    return trial


def _parameters(trial: Trial) -> list[nn.Parameter]:
    return trial.parameters()


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


STEP_CHECKS = (
    a_gpu_computes_what_the_cpu_computes,
    a_step_can_be_recorded_for_a_gpu,
    a_batch_in_parts_teaches_what_the_whole_does,
)
