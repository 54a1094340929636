"""What only one method promises."""

from __future__ import annotations

import pytest
import torch
from support import TinyNet, bench, total

from kdengine.errors import BadInput
from kdengine.methods import Context, get_method
from kdengine.methods._stages import StagePair, pair_stages
from kdengine.methods._warm_up import warm_up
from kdengine.models import Shapes
from kdengine.registry import UnknownName


def test_an_unknown_method_names_the_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'dkd'"):
        get_method("dkdd")


def test_label_smoothing_of_the_recipe_reaches_the_labels_term() -> None:
    plain, smoothed = bench("none"), bench("none", label_smoothing=0.2)
    wanted = torch.nn.functional.cross_entropy(
        smoothed.student(smoothed.batch.image).logits, smoothed.batch.target, label_smoothing=0.2
    )
    assert smoothed.terms()["ce"].raw.item() == pytest.approx(wanted.item())
    assert plain.terms()["ce"].raw.item() != pytest.approx(wanted.item())


def test_weights_of_the_parameters_are_the_weights_of_the_terms() -> None:
    terms = bench("kd", ce_weight=0.25, kd_weight=3.0).terms()
    assert {name: term.weight for name, term in terms.items()} == {"ce": 0.25, "kd": 3.0}
    assert terms["kd"].weighted.item() == pytest.approx(3 * terms["kd"].raw.item())


@pytest.mark.parametrize(
    ("clock", "epochs", "wanted"),
    [(0, 4, 0.25), (0.99, 4, 0.25), (1, 4, 0.5), (3.5, 4, 1), (10, 4, 1), (0, 0, 1), (0, 0.5, 1)],
)
def test_warm_up_rises_a_step_an_epoch(clock: float, epochs: float, wanted: float) -> None:
    assert warm_up(torch.tensor(clock), epochs).item() == pytest.approx(wanted)


def test_dkd_weights_rise_over_its_share_of_the_run() -> None:
    trial = bench("dkd", epochs=40, warmup=0.5, alpha=2.0, beta=8.0)
    trial.clock = torch.tensor(4.2)
    terms = trial.terms()
    assert float(terms["ce"].weight) == 1
    assert float(terms["target"].weight) == pytest.approx(2 * 5 / 20)
    assert float(terms["non_target"].weight) == pytest.approx(8 * 5 / 20)


def test_at_pairs_stages_by_side() -> None:
    student = Shapes(10, 8, ((4, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)))
    teacher = Shapes(10, 8, ((6, 16, 16), (6, 16, 16), (9, 8, 8), (12, 4, 4)))
    assert pair_stages(student, teacher) == [StagePair(0, 1), StagePair(1, 2), StagePair(2, 3)]
    assert [pair.side for pair in pair_stages(student, teacher)] == [16, 8, 4]


def test_at_pairs_the_deepest_maps_where_no_side_is_shared() -> None:
    student, teacher = Shapes(10, 8, ((4, 14, 14), (8, 7, 7))), Shapes(10, 8, ((6, 16, 16), (6, 8, 8), (9, 4, 4)))
    assert pair_stages(student, teacher) == [StagePair(1, 2)]


def test_at_is_a_sum_over_the_pairs() -> None:
    trial = bench("at")
    assert [pair.side for pair in trial.method.pairs] == [16, 8, 4]
    from kdengine.losses import attention_transfer

    with torch.no_grad():
        own, guide = trial.student(trial.batch.image), trial.teacher(trial.batch.image)
        wanted = sum(attention_transfer(s, t) for s, t in zip(own.stages, guide.stages, strict=True))
    assert trial.terms()["attention"].raw.item() == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("flat", ["student", "teacher"])
def test_at_refuses_a_body_without_maps(flat: str) -> None:
    maps, none = Shapes(5, 8, ((4, 8, 8),)), Shapes(5, 8, ())
    student, teacher = (none, maps) if flat == "student" else (maps, none)
    method = get_method("at")
    with pytest.raises(BadInput, match=f"{flat}: the {flat} has no stage maps"):
        method.build(method.Params(), Context(5, 100, student, teacher))


def test_byot_refuses_a_body_without_two_maps() -> None:
    method = get_method("byot")
    with pytest.raises(BadInput, match="the student has 1 stage maps, expected two or more"):
        method.build(method.Params(), Context(5, 100, Shapes(5, 8, ((4, 8, 8),))))


def test_byot_detaches_the_deepest_exit() -> None:
    trial = bench("byot")
    terms = trial.terms()
    (terms["kd_exits"].raw + terms["features"].raw).backward()
    body = trial.student.body
    assert body["fc"].weight.grad is None, "the deepest answer must not follow the shallow ones"
    assert all(parameter.grad is None for parameter in body["layers"][2].parameters())
    assert body["layers"][0][0].weight.grad.abs().sum() > 0


def test_byot_has_an_exit_for_each_shallow_stage_and_alpha_divides_the_loss() -> None:
    trial = bench("byot", alpha=0.25)
    assert [exit_.name for exit_ in trial.method.exits()] == ["exit 1", "exit 2"]
    weights = {name: term.weight for name, term in trial.terms().items()}
    assert weights == {"ce": 1.0, "ce_exits": 0.75, "kd_exits": 0.25, "features": 0.05}


def test_byot_exits_meet_odd_sides() -> None:
    # A 7x7 map is reached from 28 by way of 14, from 25 by way of 13.
    shapes = Shapes(5, 16, ((4, 25, 25), (8, 13, 13), (16, 7, 7)))
    method = get_method("byot").build(get_method("byot").Params(), Context(5, 100, shapes))
    feature, logits = method.branches[0](torch.randn(2, 4, 25, 25))
    assert feature.shape == (2, 16) and logits.shape == (2, 5)


def test_student_alone_is_plain_cross_entropy() -> None:
    trial = bench("none")
    wanted = torch.nn.functional.cross_entropy(trial.student(trial.batch.image).logits, trial.batch.target)
    assert total(trial.terms()).item() == pytest.approx(wanted.item())


def test_the_teacher_sees_images_under_its_own_normalisation() -> None:
    from kdengine.training.teacher import FrozenTeacher

    net = TinyNet().eval()
    images = torch.rand(4, 3, 16, 16)
    own, batch = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))

    def normalised(numbers: tuple[tuple[float, ...], tuple[float, ...]]) -> torch.Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in numbers)
        return (images - mean) / std

    teacher = FrozenTeacher(
        net,
        mean=own[0],
        std=own[1],
        batch_mean=batch[0],
        batch_std=batch[1],
        device=torch.device("cpu"),
        channels_last=False,
    )
    assert torch.allclose(teacher(normalised(batch)).logits, net(normalised(own)).logits, atol=1e-4)
    assert not teacher(normalised(batch)).logits.requires_grad
