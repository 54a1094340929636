"""A graph network over the samples of a batch, and the network that weighs the samples."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.losses.graph import sample_graph
from kdengine.losses.precision import full


class SampleGraph(NamedTuple):
    """What the graph network makes of a batch.

    Attributes:
        projected: (B, width), rows of unit length, what the graph is drawn from.
        adjacency: (B, B), weight of sample j for sample i.
        nodes: (B, width), rows of unit length, after two rounds of passing on.
        logits: (B, C) of the classifier on the nodes.
    """

    projected: Tensor
    adjacency: Tensor
    nodes: Tensor
    logits: Tensor


class GraphNetwork(nn.Module):
    """Projector, sample graph, two graph convolutions and a classifier on the nodes.

    e = unit(Linear-ReLU-Linear(v standardized over the batch)); A = graph(e); H = unit(A ReLU(A e W1) W2), which is
    Kipf & Welling's convolution (ICLR 2017) on a graph that is drawn anew for each batch. More than two rounds make all
    nodes alike. Without standardizing, what all pooled features have in common makes every pair alike and the graph an
    average over the batch.

    Args:
        features: D of the vectors that come in.
        classes: columns of the logits.
        width: of projection, hidden layer and nodes.
        temperature, neighbours: of the graph, see `sample_graph`.
    """

    def __init__(self, features: int, classes: int, width: int, temperature: float, neighbours: int) -> None:
        super().__init__()
        self.temperature = temperature
        self.neighbours = neighbours
        self.project = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.activation = nn.ReLU()
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> SampleGraph:
        """Vectors (B, D) of one batch -> their graph."""
        projected = F.normalize(full(self.project(_standardized(features))), dim=1)
        adjacency = sample_graph(projected, self.temperature, self.neighbours)
        hidden = self.activation(self.first(adjacency @ projected))
        nodes = F.normalize(full(self.second(full(adjacency) @ full(hidden))), dim=1)
        return SampleGraph(projected, adjacency, nodes, self.classifier(nodes))


def _standardized(features: Tensor) -> Tensor:
    """(B, D) with mean 0 and variance 1 (0 for what is constant) of each column over the batch."""
    features = full(features)
    centred = features - features.mean(dim=0)
    return centred * (centred.square().mean(dim=0) + 1e-6).rsqrt()


class SampleWeights(nn.Module):
    """One weight for each sample and each loss, from what both nets see of it.

    Cosine of two linear maps, sigmoid, divided by the mean over the batch: between 0 and 2.7 times the mean, mean one,
    so that learning can shift attention between samples but not switch the loss off (after L-MCL's weight network).

    Args:
        student, teacher: widths of the two vectors of a sample.
        losses: how many weights a sample gets.
        width: of the space in which the two are compared.
    """

    def __init__(self, student: int, teacher: int, losses: int, width: int = 128) -> None:
        super().__init__()
        self.losses = losses
        self.student = nn.Linear(student, losses * width)
        self.teacher = nn.Linear(teacher, losses * width)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, ...]:
        """(B, D_s), (B, D_t) -> ``losses`` tensors (B,), each >= 0 with mean one."""
        own = self.student(F.normalize(full(student), dim=1)).unflatten(1, (self.losses, -1))
        target = self.teacher(F.normalize(full(teacher), dim=1)).unflatten(1, (self.losses, -1))
        raw = F.cosine_similarity(full(own), full(target), dim=2).sigmoid()
        return (raw / raw.mean(dim=0, keepdim=True)).unbind(dim=1)
