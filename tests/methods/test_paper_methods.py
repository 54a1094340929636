"""What only the methods of the papers, and their yardsticks, promise."""

from __future__ import annotations

import pytest
import torch
from support import bench, total

from kdengine.errors import BadInput
from kdengine.losses import class_alignment, dist, rkd_angle, rkd_distance
from kdengine.methods import get_method

# dcad --------------------------------------------------------------------------------------------------------------


def test_dcad_is_dkd_and_class_alignment() -> None:
    trial, plain = bench("dcad", gamma=3.0, temperature=2.0, warmup=0.0), bench("dkd", temperature=2.0, warmup=0.0)
    terms, wanted = trial.terms(), plain.terms()
    for name in ("ce", "target", "non_target"):
        assert terms[name].weighted.item() == pytest.approx(wanted[name].weighted.item(), rel=1e-6)
    with torch.no_grad():
        own, guide = (net(trial.batch.image).logits for net in (bench("dcad").student, trial.teacher))
    expected = class_alignment(own, guide, 2.0, "correlation").item()
    assert terms["class_alignment"].weighted.item() == pytest.approx(3 * expected, rel=1e-5)


def test_dcad_rises_over_its_share_of_the_run() -> None:
    trial = bench("dcad", epochs=40, warmup=0.5)
    trial.clock = torch.tensor(4.2)
    weights = {name: float(term.weight) for name, term in trial.terms().items()}
    assert weights == pytest.approx({"ce": 1, "target": 0.25, "non_target": 8 * 0.25, "class_alignment": 2 * 0.25})


def test_dcad_kinds_differ() -> None:
    values = {kind: bench("dcad", kind=kind).terms()["class_alignment"].raw.item() for kind in
              ("correlation", "pearson", "gram")}  # fmt: skip
    assert len(set(values.values())) == 3 and min(values.values()) > 0


def test_dcad_of_two_classes() -> None:
    with pytest.raises(BadInput, match=r"method\.kind: found two classes.*choose the class relation pearson or gram"):
        bench("dcad", classes=2)
    terms = bench("dcad", classes=2, kind="pearson").terms()
    assert terms["non_target"].raw.item() == 0, "one other class has nothing to rank"
    assert terms["class_alignment"].raw.item() > 0


def test_dcad_shows_how_the_classes_go_together() -> None:
    trial = bench("dcad")
    arrays = trial.method.inspect(trial.student(trial.batch.image), trial.teacher(trial.batch.image))
    assert {name: array.kind for name, array in arrays.items()} == dict.fromkeys(
        ("teacher", "student", "difference"), "matrix"
    )
    student, teacher = arrays["student"].values, arrays["teacher"].values
    assert torch.allclose(student.diagonal(), torch.ones(5), atol=1e-3)
    assert torch.allclose(teacher, teacher.T) and teacher.shape == (5, 5)
    assert torch.equal(arrays["difference"].values, student - teacher)


# dist, rkd, standardised soft targets --------------------------------------------------------------------------------


def test_dist_is_its_loss() -> None:
    trial = bench("dist", temperature=3.0, beta=2.0, gamma=0.5)
    terms = trial.terms()
    with torch.no_grad():
        own, guide = (net(trial.batch.image).logits for net in (bench("dist").student, trial.teacher))
    found = terms["inter_class"].weighted + terms["intra_class"].weighted
    assert found.item() == pytest.approx(dist(own, guide, 3.0, 2.0, 0.5).item(), rel=1e-5)


def test_dist_of_two_classes_teaches_intra_class_relations_only() -> None:
    with pytest.raises(BadInput, match=r"method\.beta: found two classes.*set beta to 0"):
        bench("dist", classes=2)
    assert bench("dist", classes=2, beta=0.0).terms()["intra_class"].raw.item() > 0


def test_rkd_reads_embeddings_and_takes_soft_targets_on_demand() -> None:
    trial = bench("rkd")
    terms = trial.terms()
    with torch.no_grad():
        own, guide = (net(trial.batch.image).embedding for net in (bench("rkd").student, trial.teacher))
    assert terms["distance"].weighted.item() == pytest.approx(25 * rkd_distance(own, guide).item(), rel=1e-4)
    assert terms["angle"].weighted.item() == pytest.approx(50 * rkd_angle(own, guide).item(), rel=1e-4)
    assert set(terms) == {"ce", "distance", "angle"} and trial.method.requires(trial.method.params).teacher == (
        "embedding",
    )
    with_kd = bench("rkd", kd_weight=1.0)
    assert with_kd.terms()["kd"].raw.item() == pytest.approx(bench("kd").terms()["kd"].raw.item(), rel=1e-5)
    assert "logits" in with_kd.method.requires(with_kd.method.params).teacher


def test_standardised_soft_targets_do_not_see_the_teachers_scale() -> None:
    trial = bench("kd_standardized")
    louder = bench("kd_standardized")
    teacher = louder.teacher
    terms = louder.terms(teacher=lambda x: teacher(x)._replace(logits=7 * teacher(x).logits + 2))
    assert terms["kd"].raw.item() == pytest.approx(trial.terms()["kd"].raw.item(), rel=1e-3)
    with pytest.raises(BadInput, match="found two classes, whose standardised logits are"):
        bench("kd_standardized", classes=2)
    assert total(terms).item() > 0 and get_method("kd_standardized").Params().kd_weight == 9
