"""Exact gradients through a few steps of plain gradient descent: what would have been learnt from another loss.

d outer(theta_K) / d omega with theta_{k+1} = theta_k - rate * d inner_k(theta_k, omega) / d theta, by differentiating
through the steps (Franceschi et al., ICML 2017; used for distillation by L2T-ww, ICML 2019). Nothing is approximated:
no finite differences, no dropped second derivatives. Memory grows with the number of inner steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

Weights = dict[str, Tensor]


class _PlainHardsigmoid(TorchFunctionMode):
    """Computes hardsigmoid by a clamp: PyTorch has no second derivative of the fused form (MobileNetV3 uses it)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes everything else on."""
        if func is F.hardsigmoid:
            return (args[0] + 3).clamp(0, 6) / 6
        return func(*args, **(kwargs or {}))


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Takes forms of operations that have second derivatives, of attention too."""
    with _PlainHardsigmoid(), sdpa_kernel(SDPBackend.MATH):
        yield


def hyper_gradient(
    start: Weights,
    inner: Sequence[Callable[[Weights], Tensor]],
    outer: Callable[[Weights], Tensor],
    rate: float,
    meta: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """Gradient of the loss after the look-ahead with respect to meta-parameters.

    Args:
        start: weights by name; they are not changed.
        inner: a loss for each look-ahead step, of the weights and, through closures, of the meta-parameters.
        outer: the loss afterwards, of the weights that the steps led to.
        rate: step length.
        meta: tensors that require gradients.

    Returns:
        The outer loss (detached), and one gradient for each meta-parameter (zero where it has no influence).
    """
    weights = {name: tensor.detach().requires_grad_() for name, tensor in start.items()}
    with _twice_differentiable():
        for loss in inner:
            gradients = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=True, allow_unused=True)
            weights = {
                name: tensor if gradient is None else tensor - rate * gradient
                for (name, tensor), gradient in zip(weights.items(), gradients, strict=True)
            }
        value = outer(weights)
    found = torch.autograd.grad(value, list(meta), allow_unused=True)
    return value.detach(), [
        torch.zeros_like(tensor) if gradient is None else gradient.detach()
        for tensor, gradient in zip(meta, found, strict=True)
    ]
