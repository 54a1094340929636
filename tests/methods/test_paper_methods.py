"""What only the methods of the papers, and their yardsticks, promise."""

from __future__ import annotations

import pytest
import torch
from support import TinyNet, bench, total

from kdengine.errors import BadInput
from kdengine.losses import class_alignment, dist, kd, rkd_angle, rkd_distance
from kdengine.methods import Context, get_method
from kdengine.methods.fusion_self import FeatureFusion
from kdengine.models import Shapes
from kdengine.models.blocks.branch import Branch
from kdengine.models.blocks.feature_pyramid import FeaturePyramid
from kdengine.models.blocks.resize import shrink

# dcad --------------------------------------------------------------------------------------------------------------


def test_dcad_is_dkd_and_class_alignment() -> None:
    trial, plain = (
        bench("dcad", beta=8.0, gamma=3.0, temperature=2.0, warmup=0.0),
        bench("dkd", temperature=2.0, warmup=0.0),
    )
    terms, wanted = trial.terms(), plain.terms()
    for name in ("ce", "target", "non_target"):
        assert terms[name].weighted.item() == pytest.approx(wanted[name].weighted.item(), rel=1e-6)
    with torch.no_grad():
        own, guide = (net(trial.batch.image).logits for net in (bench("dcad").student, trial.teacher))
    expected = class_alignment(own, guide, 2.0, "correlation").item()
    assert terms["class_alignment"].weighted.item() == pytest.approx(3 * expected, rel=1e-5)


def test_dcad_rises_over_its_share_of_the_run() -> None:
    trial = bench("dcad", beta=8.0, gamma=2.0, epochs=40, warmup=0.5)
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
        ("teacher", "student", "difference"), "classes"
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
    with pytest.raises(BadInput, match="found two classes, whose standardized logits are"):
        bench("kd_standardized", classes=2)
    assert total(terms).item() > 0 and get_method("kd_standardized").Params().kd_weight == 9


# branches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "side", "count"), [(64, 32, 177856), (128, 16, 168832), (256, 8, 134400)])
def test_a_branch_costs_what_the_specification_counts(channels: int, side: int, count: int) -> None:
    branch = Branch((channels, side, side), (512, 4, 4), 100)
    assert sum(parameter.numel() for parameter in branch.body.parameters()) == count
    assert branch.map(torch.zeros(2, channels, side, side)).shape == (2, 512, 4, 4)


@pytest.mark.parametrize(("start", "end"), [(25, 7), (15, 7), (16, 3), (8, 8), (9, 4), (2, 1)])
def test_a_branch_meets_the_deepest_shape_exactly(start: int, end: int) -> None:
    branch = Branch((4, start, start), (6, end, end), 3)
    assert branch.map(torch.randn(2, 4, start, start)).shape == (2, 6, end, end)


@pytest.mark.parametrize(("side", "target"), [(8, 8), (8, 4), (8, 7), (9, 4), (16, 3), (5, 1)])
def test_shrinking_covers_the_whole_map(side: int, target: int) -> None:
    x = torch.zeros(1, 1, side, side, requires_grad=True)
    small = shrink(x, (target, target), torch.nn.functional.avg_pool2d)
    assert small.shape == (1, 1, target, target)
    small.sum().backward()
    assert x.grad is not None and (x.grad > 0).all()
    ramp = torch.arange(float(side)).expand(1, 1, side, side)
    assert shrink(ramp, (target, target), torch.nn.functional.max_pool2d)[0, 0, 0, -1] == side - 1


# light self-distillation -------------------------------------------------------------------------------------------


def test_light_self_without_attention_is_byot() -> None:
    light, plain = bench("light_self", attention="none").terms(), bench("byot").terms()
    assert {key: term.raw.item() for key, term in light.items()} == {
        key: term.raw.item() for key, term in plain.items()
    }


@pytest.mark.parametrize(("attention", "weights"), [("simam", 0), ("eca", 6), ("cbam", 0)])
def test_light_self_attention_is_light(attention: str, weights: int) -> None:
    trial = bench("light_self", attention=attention)
    own = sum(parameter.numel() for parameter in trial.method.attentions.parameters())
    assert own == weights if attention != "cbam" else 0 < own < 500
    terms = trial.terms()
    assert terms["ce_exits"].raw.item() != bench("byot").terms()["ce_exits"].raw.item()
    total(terms).backward()
    assert all(bool(p.grad.any()) for p in trial.method.branches.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("attention", "kind", "shapes"),
    [
        ("simam", "map", [(10, 16, 16), (10, 8, 8)]),
        ("cbam", "map", [(10, 16, 16), (10, 8, 8)]),
        ("eca", "vector", [(10, 6), (10, 8)]),
    ],
)
def test_light_self_shows_its_masks(attention: str, kind: str, shapes: list[tuple[int, ...]]) -> None:
    trial = bench("light_self", attention=attention)
    arrays = trial.method.inspect(trial.student(trial.batch.image), None)
    assert list(arrays) == ["mask_1", "mask_2"]
    assert [tuple(array.values.shape) for array in arrays.values()] == shapes
    assert all(array.kind == kind and array.values.min() > 0 and array.values.max() <= 1 for array in arrays.values())
    assert bench("light_self", attention="none").method.inspect(trial.student(trial.batch.image), None) == {}


def test_light_self_teaches_every_exit_from_the_deepest_and_not_back() -> None:
    trial = bench("light_self")
    terms = trial.terms()
    (terms["kd_exits"].raw + terms["features"].raw).backward()
    assert trial.student.body["fc"].weight.grad is None
    assert trial.student.body["layers"][0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["light_self", "fusion_self", "frskd", "ama_self"])
def test_self_distillation_hangs_on_a_net_whose_last_map_is_one_place(name: str) -> None:
    # As vgg11 has at 32 px.
    student = TinyNet(5, 4)
    assert [height for _, height, _ in student.shapes().stages] == [4, 2, 1]
    trial = bench(name, student=student, image_size=4)
    total(trial.terms()).backward()
    assert all(torch.isfinite(p.grad).all() for p in trial.parameters() if p.grad is not None)
    arrays = trial.method.inspect(trial.student(trial.batch.image), None)
    assert all(torch.isfinite(array.values).all() for array in arrays.values())


# fusion ------------------------------------------------------------------------------------------------------------


def test_the_fused_map_is_the_mean_of_the_intermediate_maps() -> None:
    torch.manual_seed(0)
    fusion = FeatureFusion(4, groups=3)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    maps = [torch.rand(2, 6, 4, 4) for _ in range(4)]
    fused = fusion(maps)
    mean_mask = sum(fused.masks) / 4
    intermediate = [mean_mask * x for x in maps]
    assert torch.allclose(fused.map, sum(intermediate) / 4, atol=1e-6)
    assert len({mask.sum().item() for mask in fused.masks}) == 4, "each map has a mask of its own"


def test_the_whole_fusion_of_four_maps_costs_512_weights() -> None:
    assert sum(parameter.numel() for parameter in FeatureFusion(4, groups=64).parameters()) == 512


def test_an_untrained_mask_is_0731_everywhere() -> None:
    trial = bench("fusion_self")
    arrays = trial.method.inspect(trial.student(trial.batch.image), None)
    assert torch.allclose(arrays["mean_mask"].values, torch.tensor(0.7311), atol=1e-4)


def test_fusion_shows_masks_intermediate_maps_and_the_fused_map() -> None:
    trial = bench("fusion_self")
    for parameter in trial.method.fusion.parameters():
        torch.nn.init.normal_(parameter)
    arrays = trial.method.inspect(trial.student(trial.batch.image), None)
    wanted = {f"{kind}_{number}" for kind in ("mask", "intermediate") for number in (1, 2, 3)} | {"mean_mask", "fused"}
    assert set(arrays) == wanted and all(array.values.shape == (10, 4, 4) for array in arrays.values())
    masks, intermediate = ([arrays[f"{kind}_{n}"].values for n in (1, 2, 3)] for kind in ("mask", "intermediate"))
    assert torch.allclose(sum(masks) / 3, arrays["mean_mask"].values, atol=1e-5)
    assert torch.allclose(sum(intermediate) / 3, arrays["fused"].values, atol=1e-5)


@pytest.mark.parametrize(("asked", "taken"), [(64, 10), (4, 2), (5, 5), (1, 1)])
def test_groups_are_the_largest_number_that_divides_the_channels(asked: int, taken: int) -> None:
    assert bench("fusion_self", groups=asked).method.fusion.enhancers[0].groups == taken


def test_the_fused_answer_teaches_all_exits_and_learns_from_the_labels_only() -> None:
    trial = bench("fusion_self")
    terms = trial.terms()
    (terms["kd_exits"].raw + terms["features"].raw).backward()
    assert trial.method.classifier.weight.grad is None, "the fused answer must not follow the exits"
    assert trial.student.body["fc"].weight.grad.abs().sum() > 0, "the deepest exit learns too"
    trial = bench("fusion_self")
    trial.terms()["ce_fused"].raw.backward()
    assert trial.method.classifier.weight.grad.abs().sum() > 0
    for branch in trial.method.branches:
        assert branch.body[0][0].weight.grad.abs().sum() > 0, "through the fused map the exits reach each other"


def test_fusion_teachers() -> None:
    def teach(teacher: str) -> tuple[float, float]:
        terms = bench("fusion_self", taught_by=teacher).terms()
        return terms["kd_exits"].raw.item(), terms["features"].raw.item()

    trial = bench("fusion_self")
    with torch.no_grad():
        own = trial.student(trial.batch.image)
        logits = {exit_.name: exit_.logits(own) for exit_ in trial.method.exits()}
    shallow = [logits["exit 1"], logits["exit 2"]]
    from_fused = sum(kd(x, logits["fused"], 3.0) for x in [*shallow, own.logits]).item()
    from_deepest = sum(kd(x, own.logits, 3.0) for x in shallow).item()
    assert teach("fused")[0] == pytest.approx(from_fused, rel=1e-4)
    assert teach("deepest")[0] == pytest.approx(from_deepest, rel=1e-4)
    assert teach("both")[0] == pytest.approx((from_fused + from_deepest) / 2, rel=1e-4)
    assert teach("both")[1] == pytest.approx((teach("fused")[1] + teach("deepest")[1]) / 2, rel=1e-4)


def test_fusion_compares_maps_regardless_of_their_scale() -> None:
    # Two branches whose maps are multiples of the fused one differ by nothing.
    from kdengine.methods.fusion_self import _scaled

    x = torch.rand(3, 4, 2, 2)
    assert torch.allclose(_scaled(0.731 * x), _scaled(x), atol=1e-4)
    assert _scaled(x).square().mean((1, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert torch.equal(_scaled(torch.zeros(1, 2, 2, 2)), torch.zeros(1, 2, 2, 2))


def test_fusion_needs_two_maps_with_more_than_one_place() -> None:
    method = get_method("fusion_self")
    with pytest.raises(BadInput, match="the student has 1 stage maps of 2x2 or more, expected two or more"):
        method.build(method.Params(), Context(5, 100, Shapes(5, 8, ((4, 2, 2), (8, 1, 1)))))


def test_fusion_exits_end_with_the_fused_one() -> None:
    trial = bench("fusion_self", student=TinyNet(5, 16))
    assert [exit_.name for exit_ in trial.method.exits()] == ["exit 1", "exit 2", "fused"]


# the self-teacher --------------------------------------------------------------------------------------------------

RESNET18 = ((64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4))


@pytest.mark.parametrize(
    ("stages", "count"), [(RESNET18, 6_375_794), (((32, 32, 32), (64, 16, 16), (128, 8, 8)), 411_885)]
)
def test_the_self_teacher_costs_what_the_specification_counts(stages: tuple[tuple[int, ...], ...], count: int) -> None:
    # 6.376M for ResNet18 and ResNet34, 0.412M for WRN-16-2, with 100 classes.
    pyramid = FeaturePyramid(stages, 100)  # type: ignore[arg-type]
    assert sum(parameter.numel() for parameter in pyramid.parameters()) == count


@pytest.mark.parametrize("sides", [(8, 4, 2), (7, 4, 1), (9, 9, 3), (16, 5, 5)])
def test_the_self_teacher_keeps_the_sides_and_doubles_the_channels(sides: tuple[int, ...]) -> None:
    stages = tuple((channels, side, side) for channels, side in zip((3, 4, 6), sides, strict=True))
    refined, logits = FeaturePyramid(stages, 5)([torch.rand(2, *shape) for shape in stages])
    assert [tuple(x.shape) for x in refined] == [(2, 2 * c, side, side) for c, side, _ in stages]
    assert logits.shape == (2, 5) and all(x.min() >= 0 for x in refined)


def test_every_refined_map_sees_every_stage() -> None:
    stages = ((3, 8, 8), (4, 4, 4), (6, 2, 2))
    maps = [torch.rand(2, *shape, requires_grad=True) for shape in stages]
    torch.manual_seed(0)
    refined, _ = FeaturePyramid(stages, 5)(maps)
    for x in refined:
        gradients = torch.autograd.grad(x.square().sum(), maps, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", ["frskd", "ama_self"])
def test_the_self_teacher_learns_from_the_labels_only(name: str) -> None:
    trial = bench(name)
    terms = trial.terms()
    total({key: term for key, term in terms.items() if key not in ("ce", "ce_teacher")}).backward()
    assert all(parameter.grad is None for parameter in trial.method.self_teacher.parameters())
    assert trial.student.body["layers"][0][0].weight.grad.abs().sum() > 0
    bench_of_labels = bench(name)
    bench_of_labels.terms()["ce_teacher"].raw.backward()
    assert all(bool(p.grad.any()) for p in bench_of_labels.method.self_teacher.lateral_down.parameters())


@pytest.mark.parametrize("name", ["frskd", "ama_self"])
def test_the_self_teacher_answers_and_needs_two_maps(name: str) -> None:
    assert [exit_.name for exit_ in bench(name).method.exits()] == ["self-teacher"]
    method = get_method(name)
    for stages in (((4, 8, 8),), ((4, 1, 1), (8, 1, 1))):
        with pytest.raises(BadInput, match="refines maps of several depths; the student has"):
            method.build(method.Params(), Context(5, 100, Shapes(5, 8, stages)))


def test_frskd_is_attention_transfer_from_the_refined_maps() -> None:
    from kdengine.losses import attention_transfer

    trial = bench("frskd")
    with torch.no_grad():
        own = trial.student(trial.batch.image)
        refined, guide = trial.method.self_teacher(own.stages)
        wanted = sum(attention_transfer(s, t) for s, t in zip(own.stages, refined, strict=True)).item()
    terms = trial.terms()
    assert terms["attention"].weighted.item() == pytest.approx(100 * wanted, rel=1e-3)
    assert terms["kd"].weighted.item() == pytest.approx(2 * kd(own.logits, guide, 4.0).item(), rel=1e-3)
    arrays = trial.method.inspect(own, None)
    assert set(arrays) == {f"{role}_{number}" for role in ("student", "self_teacher") for number in (1, 2, 3)}


# adaptive mixed attention --------------------------------------------------------------------------------------------


def shares(**params: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Share of each image on a made-up map, the foreground's energy share, and its area."""
    trial = bench("ama_self", **params)
    channels = trial.method.self_teacher.channels[0]
    refined = torch.rand(10, channels, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True) ** 4
    attention = refined.square().mean(1)
    mask = trial.method.mask(attention)
    sure = torch.linspace(0, 1, 10)
    share = trial.method.share(0, refined.detach(), attention.detach(), mask.detach(), sure)
    energy_share = (attention * mask).sum((1, 2)) / attention.sum((1, 2))
    return share.detach(), energy_share.detach(), mask.mean((1, 2)).detach()


def test_the_share_follows_the_feature_maps() -> None:
    share, energy_share, area = shares(mask="hard", ratio_low=0.0, ratio_high=1.0)
    assert torch.allclose(share, energy_share, atol=1e-5)
    assert (share > area).all(), "bounded below by the area where the mask is the map's mean"


def test_the_share_follows_the_probability() -> None:
    share, _, _ = shares(ratio="probability")
    assert share.tolist() == pytest.approx([min(0.8, max(0.2, step / 9)) for step in range(10)], abs=1e-6)


def test_the_share_is_fixed_or_learned() -> None:
    assert shares(ratio="fixed")[0].tolist() == pytest.approx([2 / 3] * 10)
    learned = shares(ratio="learned", ratio_low=0.3, ratio_high=0.4)[0]
    assert learned.min() > 0.3 and learned.max() < 0.4


@pytest.mark.parametrize("ratio", ["feature", "probability", "learned", "fixed"])
@pytest.mark.parametrize("mask", ["soft", "hard"])
def test_ama_shows_masks_regions_and_shares(ratio: str, mask: str) -> None:
    trial = bench("ama_self", ratio=ratio, mask=mask)
    before = {key: value.clone() for key, value in trial.method.state_dict().items()}
    arrays = trial.method.inspect(trial.student(trial.batch.image), None)
    assert all(torch.equal(value, before[key]) for key, value in trial.method.state_dict().items())
    assert set(arrays) == {
        f"{name}_{number}"
        for name in ("attention", "hard_mask", "soft_mask", "foreground", "background", "ratio")
        for number in (1, 2, 3)
    }
    for number, side in ((1, 16), (2, 8), (3, 4)):
        assert arrays[f"foreground_{number}"].values.shape == (10, side, side)
        assert set(arrays[f"hard_mask_{number}"].values.unique().tolist()) == {0.0, 1.0}
        share = arrays[f"ratio_{number}"]
        assert share.kind == "vector" and share.values.shape == (10,)
        assert share.values.min() >= 0.2 and share.values.max() <= 0.8
        if mask == "hard":
            both = arrays[f"foreground_{number}"].values * arrays[f"background_{number}"].values
            assert both.abs().max() == 0, "hard regions do not overlap"


@pytest.mark.parametrize("ratio", ["feature", "probability", "fixed"])
def test_the_share_cannot_be_lowered_by_the_net(ratio: str) -> None:
    # With all regions alike in loss, moving the share would be the only way to a gradient in the self-teacher.
    trial = bench("ama_self", ratio=ratio)
    terms = trial.terms()
    (terms["foreground"].raw + terms["background"].raw).backward()
    assert all(parameter.grad is None for parameter in trial.method.parameters())


def test_a_learned_share_is_trained_and_held_off_its_limits() -> None:
    trial = bench("ama_self", ratio="learned")
    optimizer = torch.optim.SGD(trial.method.shares.parameters(), lr=1.0)
    for _ in range(30):
        optimizer.zero_grad()
        terms = trial.terms()
        total({key: terms[key] for key in ("foreground", "background", "ratio")}).backward()
        assert all(p.grad is None for p in trial.method.self_teacher.parameters())
        optimizer.step()
    arrays = trial.method.inspect(trial.student(trial.batch.image), None)
    values = torch.cat([arrays[f"ratio_{number}"].values for number in (1, 2, 3)])
    assert values.min() > 0.21 and values.max() < 0.79
    assert trial.terms()["ratio"].raw.item() >= 0


def test_ama_warms_up() -> None:
    trial = bench("ama_self", epochs=40, warmup=0.25, attention_weight=3.0)
    trial.clock = torch.tensor(4.9)
    terms = trial.terms()
    assert float(terms["foreground"].weight) == float(terms["background"].weight) == pytest.approx(3 * 5 / 10)
    assert terms["kd"].weight == 2.0


def test_ama_takes_mixed_labels() -> None:
    trial = bench("ama_self", ratio="probability")
    shares_of = torch.nn.functional.one_hot(trial.batch.target, 5).float()
    mixed = bench("ama_self", ratio="probability")
    mixed.batch = type(mixed.batch)(mixed.batch.views, shares_of, mixed.batch.index)
    assert mixed.terms()["foreground"].raw.item() == pytest.approx(trial.terms()["foreground"].raw.item(), rel=1e-5)


def test_ama_refuses_crossed_limits() -> None:
    with pytest.raises(BadInput, match=r"method\.ratio_low: found 0\.9 above ratio_high = 0\.8"):
        bench("ama_self", ratio_low=0.9)
