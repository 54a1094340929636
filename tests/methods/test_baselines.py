"""What only one of the field's baselines promises."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from support import bench, total
from torch.nn import functional as F

from kdengine.errors import BadInput
from kdengine.losses import batch_level, class_level, instance_level, kd, similarity_preserving
from kdengine.methods import Context, get_method
from kdengine.methods.multi_level import stronger
from kdengine.models import Shapes
from kdengine.models.blocks.regressor import common_side
from kdengine.models.blocks.review import ReviewFusion

SQUARE = Shapes(5, 8, ((4, 16, 16), (6, 8, 8), (8, 4, 4)))
FLAT = Shapes(5, 8, ())


@pytest.mark.parametrize("name", ["fitnet", "sp", "review_kd"])
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


def test_sp_shows_both_graphs() -> None:
    trial = bench("sp")
    arrays = trial.method.inspect(trial.student(trial.batch.image), trial.teacher(trial.batch.image))
    assert {name: (array.kind, array.values.shape) for name, array in arrays.items()} == {
        "student": ("graph", (10, 10)),
        "teacher": ("graph", (10, 10)),
    }
    assert total(trial.terms()).requires_grad


# cs_kd ---------------------------------------------------------------------------------------------------------------


def test_cs_kd_teaches_the_first_half_by_the_second() -> None:
    trial = bench("cs_kd", temperature=2.0, class_weight=3.0)
    half = [batch.chunk(2) for batch in (trial.batch.image, trial.batch.target)]
    with torch.no_grad():
        own, partners = (trial.student(images).logits for images in half[0])
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


def test_ps_kd_remembers_answers_by_the_number_of_the_image() -> None:
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


@pytest.mark.parametrize("name", ["ps_kd", "crd"])
def test_a_memory_of_many_gigabytes_is_refused(name: str) -> None:
    method = get_method(name)
    params = method.Params(**({"dimension": 1024} if name == "crd" else {}))
    context = Context(20_000, 1_300_000, SQUARE, SQUARE)
    with pytest.raises(BadInput, match=rf"{name} remembers \d+ numbers of each of the 1300000 .* GB"):
        method.build(params, context)


# dlb -----------------------------------------------------------------------------------------------------------------


def test_dlb_teaches_what_was_in_the_batch_before() -> None:
    trial = bench("dlb", temperature=2.0)
    images, target = trial.batch.image, trial.batch.target
    halves = [torch.arange(5), torch.arange(5, 10), torch.arange(10, 15)]
    trial.batch = replace(trial.batch, index=torch.cat(halves[:2]))
    assert trial.terms()["kd"].raw.item() == 0, "nothing is remembered yet"
    with torch.no_grad():
        before = trial.student(images).logits
    moved = torch.cat([images[5:] + 0.3, images[:5]])
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


# review_kd -----------------------------------------------------------------------------------------------------------


def test_review_goes_from_the_embedding_to_the_shallowest_stage() -> None:
    trial = bench("review_kd", review_weight=2.0, warmup=0.5, epochs=10)
    assert [pair.side for pair in trial.method.pairs] == [4, 8, 16]
    assert [fusion.gates is None for fusion in trial.method.fusions] == [True, False, False, False]
    assert float(trial.terms()["review"].weight) == pytest.approx(2 * 4 / 5), "3 epochs done: the fourth of five"
    arrays = trial.method.inspect(trial.student(trial.batch.image), trial.teacher(trial.batch.image))
    assert {(name, tuple(array.values.shape)) for name, array in arrays.items()} == {
        (f"{role}_{side}", (10, side, side)) for role in ("student", "teacher") for side in (4, 8, 16)
    }


def test_a_fusion_weighs_both_maps_at_each_place() -> None:
    fusion = ReviewFusion(3, 4, 5, deeper=True).eval()
    stage, deeper = torch.randn(2, 3, 6, 6), torch.randn(2, 4, 3, 3)
    answer, fused = fusion(stage, deeper, (6, 6))
    lateral, below = fusion.lateral(stage), deeper.repeat_interleave(2, 2).repeat_interleave(2, 3)
    a, b = fusion.gates(torch.cat([lateral, below], 1)).sigmoid().unbind(1)
    assert torch.allclose(fused, lateral * a[:, None] + below * b[:, None], atol=1e-5)
    assert answer.shape == (2, 5, 6, 6) and torch.allclose(answer, fusion.answer(fused))


# multi_level ---------------------------------------------------------------------------------------------------------


def test_multi_level_sums_both_views_and_masks_the_plain_one() -> None:
    trial = bench("multi_level", temperature=2.0, strength=0.0)
    with torch.no_grad():
        owns, guides = ([net(view).logits for view in trial.batch.views] for net in (trial.student, trial.teacher))
    ladder = [1.0, 1.5, 2.0, 2.5, 3.0]
    sure = guides[0].softmax(1)
    samples = (sure.amax(1) <= sure.amax(1).quantile(0.5)).float()
    classes = (sure.sum(0) <= sure.sum(0).quantile(0.5)).float()
    assert samples.sum() == 5 and classes.sum() == 3
    wanted = {
        "ce": sum(F.cross_entropy(own, trial.batch.target) for own in owns),
        "instance": instance_level(owns[0], guides[0], ladder, samples) + instance_level(owns[1], guides[1], ladder),
        "batch": batch_level(owns[0], guides[0], ladder, samples) + batch_level(owns[1], guides[1], ladder),
        "class": class_level(owns[0], guides[0], ladder, classes) + class_level(owns[1], guides[1], ladder),
    }
    terms = trial.terms()
    assert {name: term.raw.item() for name, term in terms.items()} == pytest.approx(
        {name: float(value) for name, value in wanted.items()}, rel=1e-3
    )


def test_only_the_second_view_is_changed_and_by_its_strength() -> None:
    trial = bench("multi_level", strength=0.8)
    prepared = trial.method.prepare(trial.batch)
    assert torch.equal(prepared.image, trial.batch.image) and not torch.equal(prepared.views[1], trial.batch.views[1])
    images = trial.batch.views[1]
    assert torch.equal(stronger(images, 0.0), images)
    cut = (stronger(images + 100, 1.0) == 0).float().mean((1, 2, 3))
    assert 0 < cut.mean() < 0.3 and cut.max() <= 0.3, "squares of up to half the side"
    torch.manual_seed(5)
    first = stronger(images, 0.5)
    torch.manual_seed(5)
    assert torch.equal(stronger(images, 0.5), first), "drawn by the global generator, which resumes"


# crd -----------------------------------------------------------------------------------------------------------------


def test_crd_remembers_both_nets_by_the_number_of_the_image() -> None:
    trial = bench("crd", momentum=0.25)
    index = torch.arange(10) * 9
    trial.batch = replace(trial.batch, index=index)
    method = trial.method
    before = method.student_memory.clone(), method.teacher_memory.clone()
    with torch.no_grad():
        own = F.normalize(method.student_embedding(trial.student(trial.batch.image).embedding), dim=1)
        guide = F.normalize(method.teacher_embedding(trial.teacher(trial.batch.image).embedding), dim=1)
    trial.terms()
    others = torch.ones(100, dtype=torch.bool).index_fill_(0, index, False)
    for memory, old, vector in zip((method.student_memory, method.teacher_memory), before, (own, guide), strict=True):
        wanted = F.normalize(0.25 * old[index] + 0.75 * vector, dim=1)
        assert torch.allclose(memory[index], wanted, atol=1e-4) and torch.equal(memory[others], old[others])
    assert torch.equal(method.labels[index], trial.batch.target) and (method.labels[others] == -1).all()


def test_crd_draws_its_negatives_from_other_classes() -> None:
    trial = bench("crd", dimension=2, temperature=1.0)
    method = trial.method
    method.labels.copy_(torch.arange(100) % 5)
    index = torch.arange(10)
    # All of one's own class lie where the anchor is, all others on the other side: no negative is ever mistaken.
    trial.batch = replace(trial.batch, target=torch.zeros(10, dtype=torch.int64), index=index * 5)
    same = (method.labels == 0)[:, None]
    for memory in (method.student_memory, method.teacher_memory):
        memory.copy_(torch.where(same, torch.tensor([1.0, 0]), torch.tensor([-1.0, 0])))
    for embedding in (method.student_embedding, method.teacher_embedding):
        torch.nn.init.zeros_(embedding.weight)
        embedding.bias.data.copy_(torch.tensor([1.0, 0]))
    z = math.log(100 * (10 * math.exp(1) + 20 * 10 * math.exp(1) + 80 * 10 * math.exp(-1)) / (10 * 101))
    loss = F.softplus(torch.tensor(z - 1)) + 100 * F.softplus(torch.tensor(-1 - z))
    assert trial.terms()["contrast"].raw.item() == pytest.approx(2 * loss.item(), rel=1e-4)


def test_crd_fixes_its_normaliser_with_the_first_batch() -> None:
    trial = bench("crd", negatives=20)
    trial.terms()
    first = trial.method.normalisers.clone()
    trial.batch = replace(trial.batch, views=(trial.batch.image * 3,))
    trial.terms()
    assert torch.equal(trial.method.normalisers, first) and bool(trial.method.started) and first.abs().min() > 0


# mix_skd -------------------------------------------------------------------------------------------------------------


def test_mix_skd_blends_each_image_with_its_partner() -> None:
    trial = bench("mix_skd")
    torch.manual_seed(3)
    mixed = trial.method.prepare(trial.batch)
    share = float(mixed.share)
    assert 0 < share < 1 and sorted(mixed.partner.tolist()) == list(range(10))
    wanted = share * trial.batch.image + (1 - share) * trial.batch.image[mixed.partner]
    assert torch.allclose(mixed.views[1], wanted) and torch.equal(mixed.image, trial.batch.image)
    torch.manual_seed(3)
    assert torch.equal(trial.method.prepare(trial.batch).views[1], mixed.views[1]), "the global generator resumes"


def test_mix_skd_of_undivided_shares_has_no_gap() -> None:
    # With a share of 1 the blend is the image: both kinds of answers are the same.
    trial = bench("mix_skd")
    mixed = trial.method.prepare(trial.batch)
    same = replace(mixed, views=(mixed.image, mixed.image), share=torch.tensor(1.0))
    terms = trial.method(same, trial.student, None, trial.clock)
    assert terms["features"].raw.item() == pytest.approx(0, abs=1e-10)
    own = trial.method(same, trial.student, None, trial.clock)
    fused_share = own["ce_mixed"].raw.item() - own["ce"].raw.item()
    with torch.no_grad():
        outputs = trial.student(torch.cat(same.views))
        maps = [one[:10] for one in trial.method._maps(outputs)]
        fused = trial.method._fuse(maps)
        wanted = 2 * F.cross_entropy(fused, trial.batch.target)
        gap = 2 * kd(outputs.logits[:10], fused, 3.0)
    assert fused_share == pytest.approx(wanted.item(), rel=1e-3)
    assert own["kd"].raw.item() == pytest.approx(gap.item(), rel=1e-3, abs=1e-4)


def test_mix_skd_has_exits_and_a_fused_head() -> None:
    trial = bench("mix_skd", discriminator_weight=0.0)
    assert [exit_.name for exit_ in trial.method.exits()] == ["exit 1", "exit 2", "fused"]
    assert set(trial.terms()) == {"ce", "ce_mixed", "kd", "features"} and not trial.method.discriminators


def test_mix_skd_refuses_a_body_without_two_maps() -> None:
    method = get_method("mix_skd")
    with pytest.raises(BadInput, match="the student has 1 stage maps, expected two or more"):
        method.build(method.Params(), Context(5, 100, Shapes(5, 8, ((4, 8, 8),))))
