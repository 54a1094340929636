"""Early exit: a network cut where its exits are attached, run piece by piece until an exit is confident enough.

The network is traced (torch.fx) and cut at its stage maps, so that an early exit really skips the layers behind it;
its cost and latency are those of the pieces that ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from kdengine.errors import KdError
from kdengine.evaluation.accuracy import Evaluation, Seen, seen, summarised
from kdengine.evaluation.cost import blank_images, count_parameters, macs_of, median_seconds
from kdengine.methods.base import BatchLike, Exit
from kdengine.models.backbone import Backbone, Outputs


@dataclass(frozen=True)
class ExitCost:
    """What a prediction at one exit costs.

    Attributes:
        name: of the exit; "deployed" is the network's own head.
        parameters: weights of all pieces up to it and of its head.
        macs: multiply-accumulates for one image, up to it.
        milliseconds: median time of one image alone.
    """

    name: str
    parameters: int
    macs: int
    milliseconds: float


class EarlyExit:
    """A network with exits, in eval mode, that predicts as soon as one of them is confident enough.

    Args:
        backbone: in eval mode.
        exits: heads on stage maps, shallow to deep; those that need the whole network are left out.

    Raises:
        KdError: the network cannot be cut at its stage maps (a body that torch.fx cannot trace, or maps that do not
            follow from each other alone).
    """

    def __init__(self, backbone: Backbone, exits: Sequence[Exit]) -> None:
        self.backbone = backbone
        self.exits = [exit_ for exit_ in exits if exit_.stage is not None]
        self.pieces = cut(backbone, [exit_.stage for exit_ in self.exits if exit_.stage is not None])

    @torch.no_grad()
    def __call__(self, x: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
        """Predicts images (B, 3, H, W), each at the first exit whose highest probability reaches ``confidence``.

        Returns:
            Logits (B, C), and for each image the number of the exit that gave them (int64, ``len(exits)`` for the
            deployed head).
        """
        waiting = torch.arange(len(x), device=x.device)
        logits: Tensor | None = None
        used = torch.full((len(x),), len(self.exits), device=x.device)
        state = x
        for number, piece in enumerate(self.pieces):
            state = piece(state)
            last = number == len(self.exits)
            given = state if last else self._head(number, state)
            sure = torch.ones_like(waiting, dtype=torch.bool) if last else _confidence(given) >= confidence
            logits = given.new_zeros(len(x), given.shape[1]) if logits is None else logits
            logits[waiting[sure]] = given[sure].to(logits.dtype)
            used[waiting[sure]] = number
            waiting, state = waiting[~sure], state[~sure]
            if not len(waiting):
                break
        assert logits is not None
        return logits, used

    def _head(self, number: int, stage_map: Tensor) -> Tensor:
        exit_ = self.exits[number]
        assert exit_.stage is not None
        nothing = stage_map.new_zeros(0)
        stages = (nothing,) * exit_.stage + (stage_map,)
        return exit_.logits(Outputs(nothing, nothing, stages))

    def costs(self, repeats: int = 20) -> list[ExitCost]:
        """Cost of a prediction at each exit, the deployed one last."""
        image = blank_images(self.backbone)
        return [self._cost(number, image, repeats) for number in range(len(self.pieces))]

    def _cost(self, number: int, image: Tensor, repeats: int) -> ExitCost:
        deployed = number == len(self.exits)

        def predict() -> Tensor:
            state = image
            for piece in self.pieces[: number + 1]:
                state = piece(state)
            return state if deployed else self._head(number, state)

        head = 0 if deployed else sum(map(count_parameters, self.exits[number].parts))
        body = sum(count_parameters(piece) for piece in self.pieces[: number + 1])
        name = "deployed" if deployed else self.exits[number].name
        milliseconds = 1000 * median_seconds(predict, image.device, repeats)
        return ExitCost(name, body + head, macs_of(predict), milliseconds)


@torch.no_grad()
def evaluate_early(
    early: EarlyExit, costs: Sequence[ExitCost], batches: Iterable[BatchLike], confidence: float
) -> dict[str, Any]:
    """What early exit brings over batches.

    Returns:
        ``confidence``; ``accuracy`` 0..1; ``macs``, the mean for an image, without heads in vain;
        ``shares``, 0..1 of the images by the exit that predicted them.
    """
    right = count = 0
    taken = torch.zeros(len(costs))
    for batch in batches:
        logits, used = early(batch.image, confidence)
        right += int((logits.argmax(dim=1) == batch.target).sum())
        count += len(batch.target)
        taken += torch.bincount(used, minlength=len(costs)).cpu()
    shares = (taken / count).tolist()
    return {
        "confidence": confidence,
        "accuracy": right / count,
        "macs": sum(share * cost.macs for share, cost in zip(shares, costs, strict=True)),
        "shares": {cost.name: share for share, cost in zip(shares, costs, strict=True)},
    }


def cut(backbone: Backbone, stages: Sequence[int]) -> list[fx.GraphModule]:
    """Pieces of a network: from the images to the first stage named, from there to the next, ..., to the logits.

    Args:
        stages: indices into ``Outputs.stages``, rising.

    Raises:
        KdError: see `EarlyExit`.
    """
    try:
        traced = fx.symbolic_trace(backbone)
    except Exception as error:
        message = f"{backbone.name} cannot be cut at its stages (torch.fx: {error}); its exits need the whole network"
        raise KdError(message) from error
    entry = next(node for node in traced.graph.nodes if node.op == "placeholder")
    result = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    logits, _, maps = result.args
    ends = [*(maps[stage] for stage in stages), logits]
    starts = [entry, *ends[:-1]]
    return [_piece(traced, start, end, backbone.name) for start, end in zip(starts, ends, strict=True)]


def _piece(traced: fx.GraphModule, start: fx.Node, end: fx.Node, name: str) -> fx.GraphModule:
    """The part of a graph that leads from the value of one node to that of another."""
    needed: set[fx.Node] = set()
    frontier = [end]
    while frontier:
        node = frontier.pop()
        if node is start or node in needed:
            continue
        if node.op == "placeholder":
            raise KdError(f"{name} cannot be cut at its stages: a deeper one does not follow from the one before alone")
        needed.add(node)
        frontier.extend(node.all_input_nodes)
    graph = fx.Graph()
    copies = {start: graph.placeholder("x")}
    for node in traced.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, lambda old: copies[old])
    graph.output(copies[end])
    return fx.GraphModule(traced, graph)


def _confidence(logits: Tensor) -> Tensor:
    return logits.float().softmax(dim=1).amax(dim=1)


def ensemble(logits: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean of the softmaxes: log-probabilities (B, C), which serve as logits."""
    probabilities = torch.stack([values.float().softmax(dim=1) for values in logits])
    return probabilities.mean(dim=0).clamp_min(torch.finfo(torch.float32).tiny).log()


def all_logits(outputs: Outputs, exits: Sequence[Exit]) -> dict[str, Tensor]:
    """Logits (B, C) by name of the exit, then of the "deployed" head, then of the "ensemble" of all of them."""
    logits = {exit_.name: exit_.logits(outputs) for exit_ in exits}
    logits["deployed"] = outputs.logits
    return logits | {"ensemble": ensemble(list(logits.values()))}


@torch.no_grad()
def evaluate_exits(backbone: Backbone, exits: Sequence[Exit], batches: Iterable[BatchLike]) -> dict[str, Evaluation]:
    """Accuracy of each head of `all_logits` over batches; backbone and heads are in eval mode."""
    collected: dict[str, list[Seen]] = {}
    classes = 0
    for batch in batches:
        for name, logits in all_logits(backbone(batch.image), exits).items():
            classes = logits.shape[1]
            collected.setdefault(name, []).append(seen(logits.float(), batch.target))
    return {name: summarised(parts, classes) for name, parts in collected.items()}
