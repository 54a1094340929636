"""The teacher during training: frozen, in eval mode, outside optimiser, EMA and checkpoints."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kdengine.methods.base import BatchLike
from kdengine.models.backbone import Backbone, Outputs, Shapes
from kdengine.models.folding import folded
from kdengine.models.ways import with_ways
from kdengine.models.winograd import WinogradConv2d

Choose = Callable[[Backbone], Mapping[str, str]]
"""From the network that computes to the ways of its convolutions, by name; what is left out is direct."""


def directly(net: Backbone) -> Mapping[str, str]:
    """Every convolution as the network has it."""
    return {}


class FrozenTeacher:
    """A callable images -> Outputs that never trains.

    Not a module on purpose: nothing that walks the student's modules finds it.

    Args:
        backbone: the trained network; kept as it is, in ``backbone``. What computes is a copy with its batch
            normalisations folded into the convolutions.
        mean, std: normalisation that the teacher was trained with.
        batch_mean, batch_std: normalisation of the batches it is given; where they differ the batch is re-normalised.
        device: where it computes.
        channels_last: memory layout of its weights.
        fold: False = compute with the network as it is.
        choose: the ways in which its convolutions are computed (`kdengine.models.ways`); its outputs move by some 1e-5
            of the largest at most.
        compile: whether its forward pass goes through torch.compile.
        reduced: what it computes in under autocast; None = float32. Its outputs are of that kind where those of the
            student are, and float32 otherwise.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        batch_mean: tuple[float, ...],
        batch_std: tuple[float, ...],
        device: torch.device,
        channels_last: bool = True,
        fold: bool = True,
        choose: Choose = directly,
        compile: bool = False,
        reduced: torch.dtype | None = None,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone.to(device, memory_format=layout).eval().requires_grad_(False)  # type: ignore[call-overload]
        net = folded(self.backbone) if fold else self.backbone
        if ways := choose(net):
            net = with_ways(net if fold else copy.deepcopy(net), ways)
        self._net: nn.Module = torch.compile(net, dynamic=False) if compile else net  # type: ignore[assignment]
        self.compiled = compile
        self.reduced = reduced
        self.device = device
        own_mean, own_std, their_mean, their_std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std, batch_mean, batch_std)
        )
        same = tuple(mean) == tuple(batch_mean) and tuple(std) == tuple(batch_std)
        self._scale = None if same else their_std / own_std
        self._shift = None if same else (their_mean - own_mean) / own_std

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Outputs:
        """Its outputs for images (B, 3, H, W), without gradients."""
        with torch.autocast(self.device.type, dtype=self.reduced, enabled=self.reduced is not None):
            outputs: Outputs = self._net(self._normalised(x))
        as_student = self.reduced is None or torch.is_autocast_enabled(self.device.type)
        return outputs if as_student else outputs.single()

    def plainly(self, x: Tensor) -> Outputs:
        """Its outputs from the network as it is, differentiable with respect to the images: for looking inside."""
        outputs: Outputs = self.backbone(self._normalised(x))
        return outputs

    def _normalised(self, x: Tensor) -> Tensor:
        return x if self._scale is None or self._shift is None else x * self._scale + self._shift

    def outputs_for(self, batch: BatchLike) -> TeacherOutputs:
        """Its outputs for every view of a batch, made before the student's forward pass."""
        return TeacherOutputs(batch.views, tuple(self(view) for view in batch.views), self)

    def shapes(self) -> Shapes:
        """Sizes of its outputs."""
        found: Shapes = self.backbone.shapes()
        return found

    @property
    def stored_bytes(self) -> int:
        """Bytes of its weights: of the network as it is, and of the copy that computes."""
        both = (self.backbone, self._net)
        tensors = itertools.chain.from_iterable(itertools.chain(net.parameters(), net.buffers()) for net in both)
        memories = {memory.data_ptr(): memory.nbytes() for memory in (one.untyped_storage() for one in tensors)}
        tiled = sum(module.stored_bytes for module in self._net.modules() if isinstance(module, WinogradConv2d))
        found: int = sum(memories.values()) + tiled
        return found


class TeacherOutputs:
    """The teacher as a method sees it in one step: a callable images -> Outputs that has the views' outputs already.

    Args:
        views: of the batch, each (B, 3, H, W).
        outputs: the teacher's for each view.
        teacher: computes those of any other images.
    """

    def __init__(self, views: tuple[Tensor, ...], outputs: tuple[Outputs, ...], teacher: FrozenTeacher) -> None:
        self.views = views
        self.outputs = outputs
        self.teacher = teacher

    def __call__(self, x: Tensor) -> Outputs:
        """Its outputs for a view, which are there already, or for any other images (B, 3, H, W)."""
        for view, outputs in zip(self.views, self.outputs, strict=True):
            if x is view:
                return outputs
        return self.teacher(x)
