"""How the images of a batch relate, in the eyes of student and teacher."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from kdengine.inspection.of_method import arrays_by_kind
from kdengine.inspection.subject import UNKNOWN, Arrays, Subject, on_host
from kdengine.losses.graph import sample_graph

TEMPERATURE = 0.2
"""Of the graph that is drawn for any network; our choice: sharp enough that neighbours stand out, not the identity."""


def sample_graphs(subject: Subject) -> Arrays:
    """``adjacency_<who>`` (N, N), rows of the weights that an image gives to the others and itself, and what they say.

    For any network the graph of its embedding, ``embedding_<who>``: standardized over the batch, cosine, softmax at
    `TEMPERATURE`. A method that has graphs of its own adds them under its names. For each graph ``<name>``, 0-d:
    ``<name>_within`` (share of the weight to others that goes to the same class), ``<name>_chance`` (the same if
    weights were equal), ``<name>_self`` (mean weight of an image for itself), ``<name>_entropy`` (mean, nats).
    """
    graphs = {
        f"embedding_{who}": on_host(embedding_graph(outputs.embedding)) for who, outputs in subject.outputs.items()
    }
    own, vectors, nodes = arrays_by_kind(subject, "graph", "vector", "nodes")
    graphs |= own
    facts: Arrays = {}
    for name, adjacency in graphs.items():
        facts |= {f"{name}_{what}": value for what, value in graph_facts(adjacency, subject.images.labels).items()}
    return graphs | vectors | nodes | facts


def embedding_graph(embedding: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The graph of vectors (N, D): (N, N), rows sum to one."""
    values = embedding.detach().float()
    values = values - values.mean(0)
    values = values * (values.square().mean(0) + 1e-6).rsqrt()
    return sample_graph(F.normalize(values, dim=1), temperature)


def graph_facts(adjacency: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Within, chance, self and entropy of a graph (N, N), as `sample_graphs` describes them.

    Weights below zero (similarities, not a graph) count as none; images without a known class are left out of the
    first two, which are NaN where no two images share a class.
    """
    weights = np.maximum(np.asarray(adjacency, np.float64), 0)
    weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
    to_others = weights * (1 - np.eye(len(weights)))
    known = labels != UNKNOWN
    same = (labels[:, None] == labels[None, :]) & known[:, None] & known[None, :] & ~np.eye(len(labels), dtype=bool)
    pairs = known[:, None] & known[None, :] & ~np.eye(len(labels), dtype=bool)
    mass = (to_others * pairs).sum()
    within = (to_others * same).sum() / mass if mass > 0 and same.any() else np.nan
    chance = same.sum() / pairs.sum() if same.any() else np.nan
    entropy = -(weights * np.log(np.maximum(weights, 1e-12))).sum(1).mean()
    found = {"within": within, "chance": chance, "self": np.diagonal(weights).mean(), "entropy": entropy}
    return {name: np.asarray(value, np.float32) for name, value in found.items()}
