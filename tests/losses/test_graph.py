"""The graph over a batch and its two losses: values worked out by hand, and what must not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from kdengine.losses.graph import node_alignment, relation_divergence, sample_graph


def unit(*rows: list[float]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows), dim=1)


def test_dense_graph_of_two_opposite_samples_by_hand() -> None:
    graph = sample_graph(unit([1.0, 0.0], [-1.0, 0.0]), temperature=0.5)
    alone = math.exp(2) / (math.exp(2) + math.exp(-2))
    assert torch.allclose(graph, torch.tensor([[alone, 1 - alone], [1 - alone, alone]]))


def test_low_temperature_gives_the_identity_high_averages() -> None:
    torch.manual_seed(0)
    nodes = F.normalize(torch.randn(64, 128), dim=1)
    # The figures of the specification for random embeddings.
    assert sample_graph(nodes, 0.07).diagonal().mean() > 0.99
    assert sample_graph(nodes, 0.5).diagonal().mean() == pytest.approx(0.10, abs=0.02)


def test_nearest_neighbour_graph_by_hand() -> None:
    # 0 and 1 are close, 2 is nearest to 1: links 0-1, 1-2 and self loops; degrees 2, 3, 2.
    graph = sample_graph(unit([1.0, 0.0], [1.0, 0.2], [0.0, 1.0]), 0.2, neighbours=1)
    a, b = 1 / 2, 1 / math.sqrt(6)
    assert torch.allclose(graph, torch.tensor([[a, b, 0], [b, 1 / 3, b], [0, b, a]]))


def test_more_neighbours_than_samples_links_all() -> None:
    graph = sample_graph(F.normalize(torch.randn(4, 3), dim=1), 0.2, neighbours=50)
    assert torch.allclose(graph, torch.full((4, 4), 0.25))


def test_planted_clusters_keep_the_edge_mass_inside() -> None:
    torch.manual_seed(0)
    target = torch.arange(64) % 8
    centres = F.normalize(torch.randn(8, 32), dim=1)
    nodes = F.normalize(centres[target] + 0.1 * torch.randn(64, 32), dim=1)
    same = target[:, None] == target[None, :]
    for graph in (sample_graph(nodes, 0.2), sample_graph(nodes, 0.2, neighbours=7)):
        inside = (graph * same).sum() / graph.sum()
        assert inside > 0.85 > 8 / 64


def test_node_alignment_by_hand() -> None:
    own, guide = unit([1.0, 0.0], [0.0, 1.0]), unit([1.0, 0.0], [1.0, 1.0])
    gap = 1 - math.sqrt(0.5)
    assert node_alignment(own, guide).item() == pytest.approx(gap / 2, abs=1e-6)
    assert node_alignment(own, guide, torch.tensor([2.0, 0.0])).item() == pytest.approx(0, abs=1e-6)
    assert node_alignment(own, guide, torch.tensor([0.0, 2.0])).item() == pytest.approx(gap, abs=1e-6)


def test_relation_divergence_by_hand() -> None:
    own = unit([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])
    guide = unit([1.0, 0.0], [1.0, 0.0], [0.0, 1.0])

    def row(teacher: tuple[float, float], student: tuple[float, float]) -> float:
        p, q = (torch.tensor(values, dtype=torch.float32).softmax(0) for values in (teacher, student))
        return float((p * (p / q).log()).sum())

    wanted = (row((1, 0), (0, -1)) + row((1, 0), (0, 0)) + row((0, 0), (-1, 0))) / 3
    assert relation_divergence(own, guide, temperature=1.0).item() == pytest.approx(wanted, abs=1e-6)


def test_relations_do_not_change_under_rotation_nor_with_order() -> None:
    torch.manual_seed(0)
    own, guide = (F.normalize(torch.randn(6, 5), dim=1) for _ in range(2))
    turn = torch.linalg.qr(torch.randn(5, 5)).Q
    order = torch.randperm(6)
    value = relation_divergence(own, guide, 0.1)
    assert relation_divergence(own @ turn, guide, 0.1).item() == pytest.approx(value.item(), rel=1e-4)
    assert relation_divergence(own[order], guide[order], 0.1).item() == pytest.approx(value.item(), rel=1e-4)
    assert relation_divergence(own, own @ turn, 0.1).item() == pytest.approx(0, abs=1e-5)


def test_two_samples_have_no_relations_to_compare() -> None:
    own, guide = (F.normalize(torch.randn(2, 5), dim=1).requires_grad_() for _ in range(2))
    loss = relation_divergence(own, guide, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(own.grad).all()


def test_size_does_not_grow_with_the_batch() -> None:
    torch.manual_seed(0)
    values = []
    for count in (32, 256):
        own, guide = (F.normalize(torch.randn(count, 16), dim=1) for _ in range(2))
        values.append(relation_divergence(own, guide, 0.5).item())
    assert values[1] == pytest.approx(values[0], rel=0.25)
