"""Graphs, class matrices, predictions and representations, with planted clusters and predictions known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from looking import some_images, subject_of
from support import TinyNet, bench

from kdengine.evaluation.accuracy import expected_calibration_error
from kdengine.evaluation.steadiness import shifted, steadiness
from kdengine.inspection.classes import (
    bins,
    by_likeness,
    calibration,
    class_relations,
    confusion,
    disagreements,
    exit_accuracy,
    side_by_side,
)
from kdengine.inspection.graphs import embedding_graph, graph_facts, sample_graphs
from kdengine.inspection.representation import cka, neighbourhoods, plane, principal, stage_likeness
from kdengine.inspection.shifts import shift_curves
from kdengine.inspection.subject import UNKNOWN, Images


def clusters(per_class: int = 8, classes: int = 3, spread: float = 0.05) -> tuple[torch.Tensor, np.ndarray]:
    torch.manual_seed(0)
    centres = 4 * torch.eye(classes, 6)
    labels = np.repeat(np.arange(classes), per_class)
    return centres[labels] + spread * torch.randn(len(labels), 6), labels


def test_planted_clusters_keep_the_weight_inside() -> None:
    vectors, labels = clusters()
    adjacency = embedding_graph(vectors).numpy()
    assert adjacency.sum(1) == pytest.approx(np.ones(24), abs=1e-5)
    facts = graph_facts(adjacency, labels)
    assert facts["within"] > 0.93 and facts["chance"] == pytest.approx(7 / 23)
    unlike = graph_facts(embedding_graph(torch.randn(24, 6)).numpy(), labels)
    assert unlike["within"] < 0.6


def test_facts_of_a_graph_by_hand() -> None:
    adjacency = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.0, 0.5, 0.5]])
    facts = graph_facts(adjacency, np.array([0, 0, 1]))
    assert facts["within"] == pytest.approx((0.3 + 0.1) / (0.5 + 0.2 + 0.5))
    assert facts["self"] == pytest.approx((0.5 + 0.8 + 0.5) / 3)
    rows = [
        -(p * np.log(p)).sum() for p in (np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.8, 0.1]), np.array([0.5, 0.5]))
    ]
    assert facts["entropy"] == pytest.approx(np.mean(rows))
    nobody = graph_facts(adjacency, np.full(3, UNKNOWN))
    assert np.isnan(nobody["within"]) and nobody["self"] == facts["self"]


def test_the_order_of_the_images_does_not_matter_to_a_graph() -> None:
    vectors, labels = clusters(spread=1.0)
    order = torch.randperm(len(vectors))
    plain, mixed = embedding_graph(vectors), embedding_graph(vectors[order])
    assert torch.allclose(plain[order][:, order], mixed, atol=1e-6)
    facts, again = graph_facts(plain.numpy(), labels), graph_facts(mixed.numpy(), labels[order])
    assert facts["within"] == pytest.approx(float(again["within"]), abs=1e-5)


def test_a_method_adds_its_own_graphs() -> None:
    trial = bench("grkd")
    arrays = sample_graphs(subject_of(trial.student, method=trial.method, teacher=trial.teacher))
    for name in ("embedding_student", "embedding_teacher", "adjacency_student", "adjacency_teacher"):
        assert arrays[name].shape == (6, 6) and f"{name}_within" in arrays
    assert arrays["node_weight"].shape == (6,) and arrays["node_weight"].mean() == pytest.approx(1, abs=1e-4)


def test_classes_that_are_alike_stand_side_by_side() -> None:
    matrix = np.eye(6)
    for a, b in ((0, 4), (1, 5), (2, 3)):
        matrix[a, b] = matrix[b, a] = 0.9
    order = by_likeness(matrix).tolist()
    assert sorted(order) == [0, 1, 2, 3, 4, 5]
    assert all(abs(order.index(a) - order.index(b)) == 1 for a, b in ((0, 4), (1, 5), (2, 3)))
    assert by_likeness(np.eye(2)).tolist() == [0, 1]


def test_relations_are_those_that_dcad_learns_from() -> None:
    trial = bench("dcad", temperature=2.0)
    subject = subject_of(trial.student, method=trial.method, teacher=trial.teacher, count=40)
    recorded = class_relations(subject)
    assert "order" not in recorded
    arrays = side_by_side(recorded)
    order = arrays["order"]
    assert order.tolist() == by_likeness(recorded["teacher"]).tolist()
    assert side_by_side(arrays) is arrays, "what an earlier version recorded is in its order"
    own = subject.logits["student"]
    with torch.no_grad():
        inspected = trial.method.inspect(subject.outputs["student"], subject.outputs["teacher"])
    assert arrays["student"] == pytest.approx(inspected["student"].values.numpy()[np.ix_(order, order)], abs=1e-5)
    assert arrays["difference"] == pytest.approx(arrays["student"] - arrays["teacher"], abs=1e-6)
    assert own.shape == (40, 5)


def fixed_logits(student: list[int], teacher: list[int], sure: list[float], labels: list[int]) -> object:
    """A subject whose logits are given, not computed."""
    trial = bench("kd")
    images = Images(some_images(len(labels)).pixels, np.asarray(labels))
    subject = subject_of(trial.student, images, method=trial.method, teacher=trial.teacher)
    logits = {}
    for who, given in (("student", student), ("teacher", teacher)):
        shares = torch.zeros(len(given), 5)
        for row, (choice, share) in enumerate(zip(given, sure, strict=True)):
            shares[row] = (1 - share) / 4
            shares[row, choice] = share
        logits[who] = shares.log()
    subject.__dict__["logits"] = logits
    return subject


def test_confusion_counts_what_was_taken_for_what() -> None:
    subject = fixed_logits([0, 1, 1, 4, 2], [0, 1, 2, 3, 2], [0.9] * 5, [0, 1, 2, 3, UNKNOWN])
    found = confusion(subject)  # type: ignore[arg-type]
    assert found["student"].sum() == 4 and found["student"][2, 1] == 1 and found["student"][3, 4] == 1
    assert np.array_equal(found["teacher"], np.diag([1, 1, 1, 1, 0]))
    assert exit_accuracy(subject)["student"] == pytest.approx(0.5)  # type: ignore[arg-type]


def test_disagreements_come_surest_first() -> None:
    subject = fixed_logits([0, 1, 1, 4], [0, 2, 2, 3], [0.99, 0.5, 0.9, 0.7], [0, 1, 2, 3])
    found = disagreements(subject)  # type: ignore[arg-type]
    assert found["truth"].tolist() == [2, 3, 1] and found["share"] == pytest.approx(0.75)
    assert found["student"].tolist() == [1, 4, 1] and found["teacher"].tolist() == [2, 3, 2]
    assert np.array_equal(found["pixels"][0], subject.many.pixels[2])  # type: ignore[attr-defined]
    assert disagreements(subject_of(TinyNet())) == {}


def test_bins_add_up_to_the_calibration_error() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(200, 5), torch.randint(5, (200,))
    found = bins(logits, labels)
    gap = np.nansum(found["share"] * np.abs(found["accuracy"] - found["confidence"]))
    assert gap == pytest.approx(expected_calibration_error(logits, labels), abs=1e-5)
    assert found["share"].sum() == pytest.approx(1)
    assert set(calibration(subject_of(TinyNet()))) == {"student_confidence", "student_accuracy", "student_share"}


def test_cka_is_one_with_itself_and_under_rotation_and_scale() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 7)
    rotation, _ = torch.linalg.qr(torch.randn(7, 7))
    assert cka(x, x) == pytest.approx(1, abs=1e-6)
    assert cka(x, 3 * x @ rotation + 5) == pytest.approx(1, abs=1e-5)
    assert cka(x, torch.randn(40, 7)) < 0.5
    assert cka(x[:, :3], x) == pytest.approx(cka(x, x[:, :3]), abs=1e-6)


def test_stages_are_compared_with_those_of_the_teacher() -> None:
    trial = bench("kd")
    found = stage_likeness(subject_of(trial.student, method=trial.method, teacher=trial.teacher, count=12))
    assert found["student_student"].shape == found["student_teacher"].shape == (4, 4)
    assert np.diagonal(found["student_student"]) == pytest.approx(np.ones(4), abs=1e-5)
    assert found["student_student"] == pytest.approx(found["student_student"].T, abs=1e-6)


def test_principal_components_hold_what_varies() -> None:
    torch.manual_seed(0)
    along = torch.randn(50)
    vectors = torch.stack([10 * along, 0.1 * torch.randn(50), torch.zeros(50)], 1)
    points, shares = principal(vectors)
    assert shares[0] > 0.99 and abs(np.corrcoef(points[:, 0], along)[0, 1]) > 0.999
    turned, _ = principal(vectors @ torch.linalg.qr(torch.randn(3, 3))[0])
    assert torch.cdist(points, points) == pytest.approx(torch.cdist(turned, turned), abs=1e-4)
    assert principal(torch.randn(1, 4))[0].shape == (1, 2)


def test_planes_show_every_image_once() -> None:
    trial = bench("kd")
    subject = subject_of(trial.student, method=trial.method, teacher=trial.teacher, count=12)
    assert plane(subject)["student"].shape == plane(subject)["teacher"].shape == (12, 2)
    first, again = neighbourhoods(subject), neighbourhoods(subject)
    assert first["student"].shape == (12, 2) and np.array_equal(first["student"], again["student"])


def test_a_shift_moves_the_image_and_continues_its_border() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert shifted(image, 1, 0)[0, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]
    assert shifted(image, 0, -1)[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]


def test_a_net_that_looks_at_means_alone_does_not_mind_shifts() -> None:
    images = torch.zeros(8, 3, 16, 16)
    images[:, :, 6:10, 6:10] = torch.rand(8, 3, 1, 1)
    steady = steadiness(lambda x: x.mean((2, 3)), images, torch.zeros(8, dtype=torch.long))
    assert [row["shift"] for row in steady] == list(range(9))
    assert all(row["agreement"] == 1 for row in steady[:7]) and steady[6]["logit_change"] == pytest.approx(0, abs=1e-5)
    corner = steadiness(lambda x: x[:, :, 6, 6], images, torch.zeros(8, dtype=torch.long))
    assert corner[1]["logit_change"] > 0.3
    curves = shift_curves(subject_of(TinyNet()))
    assert curves["student_agreement"].shape == curves["shift"].shape == (9,) and curves["student_agreement"][0] == 1
