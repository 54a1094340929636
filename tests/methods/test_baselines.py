"""What only one of the field's baselines promises."""

from __future__ import annotations

import pytest
import torch
from support import bench, total

from kdengine.errors import BadInput
from kdengine.losses import similarity_preserving
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
