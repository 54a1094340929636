"""Optimisers of PyTorch that step without the compiler.

Every method of `torch.optim.Optimizer` imports ``torch._dynamo`` first, to make it keep out: 1600 modules, sympy
among them, and 0.8 s of the 2.9 s before a first step (AMD EPYC, torch 2.14), where nothing of an optimiser is compiled
here. What these classes call is PyTorch's own code behind those decorators, so that they compute the same bit for bit.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

KEPT_OUT = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _uncompiled(kind: type[Kind]) -> type[Kind]:
    """The optimiser of the same name whose methods do not import the compiler; ``differentiable`` is not offered."""
    members: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in KEPT_OUT}
    # What PyTorch's own decorator does around a step, beside the import.
    members["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "__module__": __name__} | members)


SGD = _uncompiled(torch.optim.SGD)
Adam = _uncompiled(torch.optim.Adam)
AdamW = _uncompiled(torch.optim.AdamW)
