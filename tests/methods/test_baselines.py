"""What only one of the field's baselines promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support import bench, total
from torch.nn import functional as F

from kdengine.errors import BadInput
from kdengine.losses import kd, similarity_preserving
from kdengine.methods import Context, get_method
from kdengine.models import Shapes
from kdengine.models.blocks.regressor import common_side

SQUARE = Shapes(5, 8, ((4, 16, 16), (6, 8, 8), (8, 4, 4)))
FLAT = Shapes(5, 8, ())


@pytest.mark.parametrize("name", ["fitnet", "sp"])
@pytest.mark.parametrize("flat", ["student", "teacher"])
def test_a_body_without_maps_is_refused(name: str, flat: str) -> None:
    method = get_method(name)
    student, teacher = (FLAT, SQUARE) if flat == "student" else (SQUARE, FLAT)
    with pytest.raises(BadInput, match=f"{flat}: the {flat} has no stage maps"):
        method.build(method.Params(), Context(5, 100, student, teacher))


# fitnet --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "sides"), [("middle", [8]), ("deepest", [4]), ("all", [16, 8, 4])])
def test_fitnet_finds_its_stage_by_resolution(stage: str, sides: list[int]) -> None:
    assert [pair.side for pair in bench("fitnet", stage=stage).method.pairs] == sides


def test_fitnet_is_the_gap_behind_the_regressor() -> None:
    trial = bench("fitnet", hint_weight=3.0)
    term = trial.terms()["hint"]
    own, guide = trial.student(trial.batch.image).stages[1], trial.teacher(trial.batch.image).stages[1]
    conv, norm, _ = trial.method.regressors[0]
    mapped = torch.einsum("bchw,dc->bdhw", own, conv.weight[:, :, 0, 0])
    mapped = (mapped - mapped.mean((0, 2, 3), keepdim=True)) / (
        mapped.var((0, 2, 3), False, keepdim=True) + 1e-5
    ).sqrt()
    assert torch.equal(norm.weight, torch.ones(9)) and torch.equal(norm.bias, torch.zeros(9))
    assert term.raw.item() == pytest.approx((mapped.clamp(min=0) - guide).square().mean().item(), rel=1e-4)
    assert term.weighted.item() == pytest.approx(3 * term.raw.item())


@pytest.mark.parametrize(("first", "second"), [((8, 8), (10, 10)), ((7, 7), (4, 4)), ((4, 6), (6, 4))])
def test_maps_meet_at_the_smaller_side(first: tuple[int, int], second: tuple[int, int]) -> None:
    maps = common_side(torch.rand(2, 3, *first), torch.rand(2, 5, *second))
    smaller = tuple(map(min, first, second))
    assert [one.shape for one in maps] == [(2, 3, *smaller), (2, 5, *smaller)]


# sp ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "count"), [("last", 1), ("all", 3), ("embedding", 1)])
def test_sp_is_a_sum_over_its_features(features: str, count: int) -> None:
    trial = bench("sp", features=features)
    with torch.no_grad():
        own, guide = trial.student(trial.batch.image), trial.teacher(trial.batch.image)
    compared = {
        "last": [(own.stages[-1], guide.stages[-1])],
        "all": list(zip(own.stages, guide.stages, strict=True)),
        "embedding": [(own.embedding, guide.embedding)],
    }[features]
    assert len(compared) == count
    wanted = sum(similarity_preserving(*pair).item() for pair in compared)
    assert trial.terms()["similarity"].raw.item() == pytest.approx(wanted, rel=1e-4)


def test_sp_on_embeddings_takes_nets_without_maps() -> None:
    method = get_method("sp")
    method.build(method.Params(features="embedding"), Context(5, 100, FLAT, FLAT))


def test_sp_shows_both_matrices_and_their_difference() -> None:
    trial = bench("sp")
    arrays = trial.method.inspect(trial.student(trial.batch.image), trial.teacher(trial.batch.image))
    assert {array.kind for array in arrays.values()} == {"matrix"}
    gap = arrays["student"].values - arrays["teacher"].values
    assert torch.equal(arrays["difference"].values, gap) and gap.shape == (10, 10)
    assert total(trial.terms()).requires_grad


# cs_kd ---------------------------------------------------------------------------------------------------------------


def test_cs_kd_teaches_the_first_half_by_the_second() -> None:
    trial = bench("cs_kd", temperature=2.0, class_weight=3.0)
    half = [batch.chunk(2) for batch in (trial.batch.image, trial.batch.target)]
    with torch.no_grad():
        own, partners = (trial.student(pictures).logits for pictures in half[0])
    terms = trial.terms()
    assert terms["ce"].raw.item() == pytest.approx(F.cross_entropy(own, half[1][0]).item(), rel=1e-5)
    assert terms["classwise"].raw.item() == pytest.approx(kd(own, partners, 2.0).item(), rel=1e-4)
    assert terms["classwise"].weight == 3 and get_method("cs_kd").requires(None).sampler == "same-class-pairs"


def test_cs_kd_partners_get_no_gradient() -> None:
    trial = bench("cs_kd")
    trial.batch.image.requires_grad_()
    total(trial.terms()).backward()
    first, second = trial.batch.image.grad.chunk(2)
    assert first.abs().sum() > 0 and second.abs().sum() == 0


# tf_kd ---------------------------------------------------------------------------------------------------------------


def test_tf_kd_needs_a_teacher_in_the_form_self_only() -> None:
    method = get_method("tf_kd")
    assert method.requires(method.Params()).teacher == ()
    assert method.requires(method.Params(form="self")).teacher == ("logits",)


def test_tf_kd_shares_between_labels_and_teacher() -> None:
    terms = bench("tf_kd", reg_share=0.3).terms()
    assert {name: term.weight for name, term in terms.items()} == pytest.approx({"ce": 0.7, "virtual": 0.3})
    trial = bench("tf_kd", form="self", self_share=0.9, self_temperature=2.0)
    terms = trial.terms()
    assert {name: term.weight for name, term in terms.items()} == pytest.approx({"ce": 0.1, "kd": 0.9})
    with torch.no_grad():
        wanted = kd(trial.student(trial.batch.image).logits, trial.teacher(trial.batch.image).logits, 2.0)
    assert terms["kd"].raw.item() == pytest.approx(wanted.item(), rel=1e-4)


# ps_kd ---------------------------------------------------------------------------------------------------------------


def test_ps_kd_remembers_answers_by_the_number_of_the_picture() -> None:
    trial = bench("ps_kd", epochs=10, alpha=0.8)
    trial.batch = replace(trial.batch, index=torch.arange(10).flip(0) * 7)
    trial.clock = torch.tensor(0.4)
    first = trial.terms()
    assert first["past"].raw.item() == pytest.approx(first["ce"].raw.item()), "unseen: the label is the past answer"
    assert float(first["past"].weight) == pytest.approx(0.08) and float(first["ce"].weight) == pytest.approx(0.92)
    with torch.no_grad():
        before = trial.student(trial.batch.image).logits
        for parameter in trial.student.parameters():
            parameter.mul_(1.5)
        now = trial.student(trial.batch.image).logits
    assert torch.allclose(trial.method.past[torch.arange(10).flip(0) * 7], before.softmax(1), atol=1e-5)
    assert trial.method.seen.sum() == 10
    trial.clock = torch.tensor(9.9)
    second = trial.terms()
    wanted = -(before.softmax(1) * now.log_softmax(1)).sum(1).mean()
    assert second["past"].raw.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert float(second["past"].weight) == pytest.approx(0.8), "in the last epoch the whole share"


@pytest.mark.parametrize("name", ["ps_kd"])
def test_a_memory_of_many_gigabytes_is_refused(name: str) -> None:
    method = get_method(name)
    context = Context(20_000, 1_300_000, SQUARE, SQUARE)
    with pytest.raises(BadInput, match=rf"{name} remembers \d+ numbers of each of the 1300000 .* GB"):
        method.build(method.Params(), context)


# dlb -----------------------------------------------------------------------------------------------------------------


def test_dlb_teaches_what_was_in_the_batch_before() -> None:
    trial = bench("dlb", temperature=2.0)
    pictures, target = trial.batch.image, trial.batch.target
    halves = [torch.arange(5), torch.arange(5, 10), torch.arange(10, 15)]
    trial.batch = replace(trial.batch, index=torch.cat(halves[:2]))
    assert trial.terms()["kd"].raw.item() == 0, "nothing is remembered yet"
    with torch.no_grad():
        before = trial.student(pictures).logits
    moved = torch.cat([pictures[5:] + 0.3, pictures[:5]])
    trial.batch = replace(
        trial.batch, views=(moved,), target=torch.cat([target[5:], target[:5]]), index=torch.cat(halves[1:])
    )
    found = trial.terms()["kd"].raw.item()
    with torch.no_grad():
        now = trial.student(moved).logits
    assert found == pytest.approx(kd(now[:5], before[5:], 2.0).item(), rel=1e-4) and found > 0
    trial.batch = replace(trial.batch, index=torch.arange(50, 60))
    assert trial.terms()["kd"].raw.item() == 0, "a batch of strangers has nothing to learn"


def test_dlb_takes_batches_of_other_sizes_and_restores_them() -> None:
    trial, fresh = bench("dlb"), bench("dlb")
    trial.terms()
    small = replace(trial.batch, views=(trial.batch.image[:4],), target=trial.batch.target[:4], index=torch.arange(4))
    trial.batch = fresh.batch = small
    trial.terms()
    fresh.method.load_state_dict(trial.method.state_dict())
    assert fresh.method.last_index.tolist() == [0, 1, 2, 3] and fresh.method.last_logits.shape == (4, 5)
    assert torch.equal(fresh.method.last_logits, trial.method.last_logits)
