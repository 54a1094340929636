"""What has no deterministic form on CUDA: found before a run that asked for determinism, not in its first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone, evaluating

NOT_DETERMINISTIC = frozenset(
    {
        *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward"),
        *("avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
        *("max_unpool2d", "max_unpool3d"),
        *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
        *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "upsample_trilinear3d_backward"),
        *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
        *("nll_loss2d_forward", "_ctc_loss_backward", "put_", "histc", "median.dim", "kthvalue"),
        *("grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    }
)
"""What ``torch.use_deterministic_algorithms`` lists as raising on CUDA (PyTorch 2.14), by the dispatcher's names."""


def lacks_deterministic_form(operation: Any) -> bool:
    """Whether CUDA refuses an operation, as the dispatcher names it, where determinism is asked for."""
    name = operation._schema.name.removeprefix("aten::")
    return bool({name, f"{name}.{operation._overloadname}"} & NOT_DETERMINISTIC)


def check_deterministic(student: Backbone) -> None:
    """Raises BadInput for a network whose training needs an operation without a deterministic form.

    Tried on the CPU, in a forward and a backward pass of two blank images; weights and random numbers stay.
    """
    look = _Look()
    image = torch.zeros(2, 3, student.image_size, student.image_size)
    with _deterministic(), evaluating(student), look:
        outputs = student(image)
        total = torch.stack([part.float().mean() for part in (*outputs[:2], *outputs.stages)]).sum()
        weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
        torch.autograd.grad(total, weights, allow_unused=True)
    if look.found:
        message = (
            f"{student.name} uses {', '.join(sorted(look.found))}, which has no deterministic form on a GPU; choose "
            "another network, or runtime.deterministic=false: a resumed run is then equal up to rounding"
        )
        raise BadInput(Problem("runtime.deterministic", message))


class _Look(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if lacks_deterministic_form(func):
            self.found.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
