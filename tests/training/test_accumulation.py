"""A batch in parts: the weights of the whole batch for every method that says so, a refusal in words for the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TinyNet, random_loader, tiny_spec
from test_loop import assert_equal_ends, make_trainer, reached
from torch import Tensor, nn

from kdengine import ExperimentSpec
from kdengine.errors import BadInput, NonFiniteLoss, Stopped
from kdengine.forecast import forecast
from kdengine.methods import Method, Needs, Term, get_method, list_methods
from kdengine.models import Backbone
from kdengine.testing.fake_gpu import fake_gpu
from kdengine.training.accumulation import in_parts
from kdengine.training.cached_logits import CachedTeacher, TableKey, open_table
from kdengine.training.loop import Trainer
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace

PARTS = 4
APART = 1e-5
"""Largest difference of a weight, relative to how far the weights moved, that rounding in float32 may explain."""


def relations(name: str, params: dict[str, Any]) -> str:
    method = get_method(name)
    return method.requires(method.Params(**params)).batch_relations


VARIANTS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in list_methods()]
VARIANTS += [
    ("dist", {"gamma": 0}),
    ("dcad", {"gamma": 0}),
    ("sim_kd", {"ce_weight": 1.0}),
    ("tf_kd", {"form": "self"}),
    ("light_self", {"attention": "cbam"}),
    ("light_self", {"attention": "eca"}),
    ("fusion_self", {"taught_by": "both"}),
    ("fitnet", {"stage": "all"}),
    ("ama_self", {"ratio": "learned", "threshold": "otsu"}),
]


def named(variant: tuple[str, dict[str, Any]]) -> str:
    return "-".join([variant[0], *(f"{key}={value}" for key, value in variant[1].items())])


EXACT = [pytest.param(*variant, id=named(variant)) for variant in VARIANTS if not relations(*variant)]
REFUSED = [pytest.param(*variant, id=named(variant)) for variant in VARIANTS if relations(*variant)]


def trainer_of(path: Path, method: str, params: dict[str, Any], parts: int, **options: Any) -> Trainer:
    """One whose batch norm keeps to the statistics that it has: those of a batch are by nature the part's."""
    trainer = make_trainer(path, method, params=params, accumulate=parts, **({"ema": 0.9} | options))
    for module in trainer.module.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]
    return trainer


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([one.detach().flatten() for one in trainer.module.parameters()])


def take_a_step(trainer: Trainer) -> None:
    trainer.module.train()
    trainer.train_step(next(iter(trainer.train_batches.epoch(0))))


def take_an_epoch(trainer: Trainer) -> None:
    trainer._train_epoch()
    trainer._end_epoch()


def gap(one: Trainer, other: Trainer, start: Tensor) -> float:
    moved = (weights(one) - start).abs().max()
    assert moved > 0
    return float((weights(one) - weights(other)).abs().max() / moved)


@pytest.mark.parametrize("take", [take_a_step, take_an_epoch])
@pytest.mark.parametrize(("method", "params"), EXACT)
def test_parts_learn_what_the_whole_batch_teaches(
    tmp_path: Path, method: str, params: dict[str, Any], take: Any
) -> None:
    # One step as the gradient is; over an epoch some methods' own weights would let the loss explode.
    clip = 0.5 if take is take_an_epoch else 0.0
    whole = trainer_of(tmp_path / "whole", method, params, 1, clip_norm=clip)
    parted = trainer_of(tmp_path / "parted", method, params, PARTS, clip_norm=clip)
    start = weights(whole).clone()
    assert torch.equal(start, weights(parted))
    take(whole)
    take(parted)
    assert gap(whole, parted, start) < APART
    own, theirs = (one.module.method.state_dict() for one in (whole, parted))
    for name, value in own.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-4)
    if take is take_an_epoch:
        (one,), (other,) = (list(trainer.run.latest("epoch", "epoch")) for trainer in (whole, parted))
        assert other["terms"].keys() == one["terms"].keys()
        for name, term in one["terms"].items():
            # A relation with the weight 0 teaches nothing; what is told of it is the mean over the parts.
            told = ["raw", "weighted"] if term["weighted"] else ["weighted"]
            for kind in told:
                assert other["terms"][name][kind] == pytest.approx(term[kind], rel=1e-3, abs=1e-5), (name, kind)


def test_the_gradient_of_the_whole_batch_is_clipped_and_not_each_parts(tmp_path: Path) -> None:
    free, whole, parted = (
        trainer_of(tmp_path / str(number), "kd", {}, parts, clip_norm=clip)
        for number, (parts, clip) in enumerate([(1, 0.0), (1, 0.05), (PARTS, 0.05)])
    )
    start = weights(whole).clone()
    for trainer in (free, whole, parted):
        take_a_step(trainer)
    assert gap(whole, free, start) > 0.1, "it was clipped"
    assert gap(whole, parted, start) < APART


@pytest.mark.parametrize(("method", "params"), REFUSED)
def test_what_is_refused_would_not_have_been_exact(tmp_path: Path, method: str, params: dict[str, Any]) -> None:
    whole = trainer_of(tmp_path / "whole", method, params, 1, clip_norm=0.5)
    parted = trainer_of(tmp_path / "parted", method, params, PARTS, clip_norm=0.5)
    start = weights(whole).clone()
    try:
        for trainer in (whole, parted):
            torch.manual_seed(5)
            take_an_epoch(trainer)
    except TypeError as error:
        assert "nobody knows how to part" in str(error)
        return
    assert gap(whole, parted, start) > 10 * APART


def spec_of(method: str, params: dict[str, Any], **recipe: Any) -> ExperimentSpec:
    cls = get_method(method)
    teacher = "resnet8" if cls.requires(cls.Params(**params)).teacher else None
    numbers = {"batch_size": 32, "accumulate": PARTS} | recipe
    return tiny_spec(method={"name": method} | params, teacher=teacher, recipe=numbers)


@pytest.mark.parametrize(("method", "params"), EXACT)
def test_a_method_without_relations_is_let_through(method: str, params: dict[str, Any]) -> None:
    spec = spec_of(method, params)
    assert (spec.recipe.accumulate, spec.recipe.part_size) == (PARTS, 8)


@pytest.mark.parametrize(("method", "params"), REFUSED)
def test_a_method_with_relations_is_refused_in_words(method: str, params: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        spec_of(method, params)
    (problem,) = refused.value.problems
    assert problem.field == "recipe.accumulate"
    assert method in problem.message and relations(method, params) in problem.message and "kd" in problem.message
    assert spec_of(method, params, accumulate=1).recipe.part_size == 32


def test_the_page_on_speed_names_all_that_are_refused() -> None:
    page = (Path(__file__).parents[2] / "docs" / "speed.md").read_text()
    (paragraph,) = [text for text in page.split("\n\n") if "recipe.accumulate=4" in text]
    named_there = {word for word in re.findall(r"`(\w+)`", paragraph)}
    assert named_there == {name for name in list_methods() if relations(name, {})}


def test_a_method_that_says_nothing_is_not_computed_in_parts() -> None:
    assert "does not say" in Needs().batch_relations


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"batch_size": 30}, "30 images cannot be computed in 4 equal parts; set recipe.batch_size to 28 or 32"),
        ({"batch_size": 3}, "set recipe.batch_size to 4"),
        ({"batch_size": 8, "accumulate": 8}, "leaves one image in each.*set at most 4"),
        ({"accumulate": 65}, "less than or equal to 64"),
        ({"accumulate": 0}, "greater than or equal to 1"),
    ],
)
def test_parts_that_do_not_come_out_even_are_refused(recipe: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=rf"(?s)recipe\.accumulate.*{words}"):
        spec_of("none", {}, **recipe)


def test_pairs_are_not_parted() -> None:
    with pytest.raises(BadInput, match="cs_kd takes images in pairs, and a part of 9"):
        spec_of("cs_kd", {}, batch_size=36)


@pytest.mark.parametrize("mixing", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_partners_are_drawn_over_the_whole_batch(tmp_path: Path, mixing: dict[str, float]) -> None:
    whole = trainer_of(tmp_path / "whole", "kd", {}, 1, **mixing)
    parted = trainer_of(tmp_path / "parted", "kd", {}, PARTS, **mixing)
    start = weights(whole).clone()
    for trainer in (whole, parted):
        torch.manual_seed(7)
        take_an_epoch(trainer)
    assert gap(whole, parted, start) < APART


def test_no_more_images_are_computed_at_once_than_a_part_holds(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", "kd", accumulate=PARTS)
    seen = {"student": [], "teacher": []}  # type: dict[str, list[int]]
    assert trainer.teacher is not None

    def watch(net: nn.Module, role: str) -> None:
        net.register_forward_pre_hook(lambda _, given: seen[role].append(len(given[0])))

    watch(trainer.module.student, "student")
    watch(trainer.teacher._net, "teacher")  # type: ignore[union-attr]
    take_a_step(trainer)
    assert seen == {"student": [2] * PARTS, "teacher": [2] * PARTS}


def test_cached_logits_are_read_for_its_own_image(tmp_path: Path) -> None:
    """Stored by a run of whole batches, read by one in parts."""
    live, storing, reading = (
        trainer_of(tmp_path / name, "kd", {}, parts)
        for name, parts in (("live", 1), ("storing", 1), ("reading", PARTS))
    )
    start = weights(live).clone()
    key = TableKey("t", "d", 24, "v", random_loader().view_count or 1, 4, "fp32")
    with open_table(tmp_path, key) as table:
        assert isinstance(storing.teacher, FrozenTeacher)
        storing.teacher = reading.teacher = CachedTeacher(storing.teacher, table)
        for trainer in (live, storing, reading):
            take_an_epoch(trainer)
        assert (reading.teacher.read, reading.teacher.computed) == (24, 24), "each computed once, read once"
    assert gap(live, storing, start) < APART
    assert gap(live, reading, start) < APART


@pytest.mark.parametrize(("method", "options"), [("byot", {}), ("ps_kd", {}), ("kd", {"mixup": 0.4})])
def test_a_run_in_parts_resumes_bit_for_bit(tmp_path: Path, method: str, options: dict[str, Any]) -> None:
    def net() -> Backbone:
        return TinyNet(4, dropout=0.2)

    settings: dict[str, Any] = {"accumulate": PARTS, "ema": 0.9, "clip_norm": 1.0, "student": net} | options
    undisturbed = make_trainer(tmp_path / "undisturbed", method, **settings)
    undisturbed.fit()
    trainer = make_trainer(tmp_path / "run", method, **settings)
    trainer.stop = partial(reached, trainer, 4)
    with pytest.raises(Stopped):
        trainer.fit()
    torch.rand(5)
    trainer = make_trainer(tmp_path / "run", method, **settings)
    assert trainer.resume() and trainer.step == 1
    trainer.fit()
    assert_equal_ends(trainer.run, undisturbed.run)


def test_scaled_gradients_are_unscaled_once(tmp_path: Path) -> None:
    """In float16 the scaler's factor belongs to the step: parts share it, and it moves once a step."""
    whole = trainer_of(tmp_path / "whole", "none", {}, 1)
    scaled = trainer_of(tmp_path / "scaled", "none", {}, PARTS)
    start = weights(whole).clone()
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    for trainer in (whole, scaled):
        take_an_epoch(trainer)
    assert gap(whole, scaled, start) < APART
    assert scaled.scaler.get_scale() == 2048, "three steps, not twelve"


class BreaksInOnePart(Method):
    """NaN for one image of the batch alone."""

    name = "breaks_in_one_part"

    def forward(self, batch: Any, student: Any, teacher: Any, clock: Tensor) -> dict[str, Term]:
        worth = torch.where(batch.index == 3, torch.nan, 1.0).mean()
        loss = student(batch.image).logits.square().mean()
        return {"fine": Term(loss, 1.0), "broken": Term(loss.detach() * worth, 1.0)}


def test_a_part_that_breaks_is_told_by_its_term(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", BreaksInOnePart, accumulate=PARTS, runtime={"log_every": 100})
    with pytest.raises(NonFiniteLoss, match="'broken'"):
        trainer.fit()


def test_uneven_parts_count_by_their_images() -> None:
    batch = next(iter(random_loader(count=10, batch_size=10, drop_last=False).epoch(0)))
    shares: list[float] = []

    def learn(part: Any, share: float) -> dict[str, Term]:
        shares.append(share)
        return {"index": Term(part.index.double().mean(), 2.0)}

    terms = in_parts(batch, 4, learn)
    assert sorted(shares) == [0.2, 0.2, 0.3, 0.3]
    assert terms["index"].raw.item() == pytest.approx(4.5) and terms["index"].weight == 2.0


def test_a_view_that_a_method_changed_is_not_taken_for_the_one_that_was_drawn() -> None:
    drawn = next(iter(random_loader(views=2).epoch(0)))
    batch = replace(drawn, views=(drawn.views[0], drawn.views[1] + 1))

    def learn(part: Any, share: float) -> dict[str, Term]:
        assert part.views[0] is part.drawn.views[0]
        assert torch.equal(part.views[1], part.drawn.views[1] + 1)
        return {}

    in_parts(batch, 4, learn)


def test_what_is_kept_for_the_backward_pass_is_gone_before_the_next_part(tmp_path: Path) -> None:
    def peak(parts: int) -> int:
        trainer = make_trainer(tmp_path / str(parts), "byot", accumulate=parts)
        alive = Alive()
        with torch.autograd.graph.saved_tensors_hooks(alive.keep, lambda kept: kept.tensor):
            take_a_step(trainer)
        assert alive.bytes == 0
        return alive.peak

    assert peak(PARTS) < 0.5 * peak(1)


class Alive:
    """Counts the bytes that autograd keeps, now and at the most; what several nodes keep counts as often."""

    def __init__(self) -> None:
        self.bytes = self.peak = 0

    def keep(self, tensor: Tensor) -> Kept:
        return Kept(tensor.detach(), self)


class Kept:
    """A tensor that autograd keeps, for as long as it does."""

    def __init__(self, tensor: Tensor, alive: Alive) -> None:
        self.tensor = tensor
        self._alive = alive
        alive.bytes += tensor.nbytes
        alive.peak = max(alive.peak, alive.bytes)

    def __del__(self) -> None:
        self._alive.bytes -= self.tensor.nbytes


@pytest.fixture
def gpu() -> Iterator[None]:
    with fake_gpu(allowed={}):
        yield


def test_recording_a_step_in_parts_is_declined_in_words(
    gpu: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(
            tmp_path, "none", accumulate=PARTS, device=torch.device("cuda"), runtime={"cuda_graph": True}
        )
    assert trainer.captured is None and "recipe.accumulate" in caplog.text
    take_a_step(trainer)


def test_the_forecast_counts_the_memory_of_a_part(tmp_path: Path) -> None:
    def memory(batch: int, parts: int) -> int:
        recipe = {"batch_size": batch, "accumulate": parts}
        spec = tiny_spec(recipe=recipe, data={"per_class": 100}, runtime={"channels_last": "on"})
        return forecast(spec, Workspace(tmp_path)).memory_bytes

    part, parted, whole = memory(16, 1), memory(128, 8), memory(128, 1)
    assert parted == pytest.approx(part + (128 - 16) * 3 * 16 * 16 * 4, rel=1e-6), "a part, and all of the images"
    assert whole > 3 * parted


def test_the_number_of_parts_is_part_of_the_command_the_file_and_the_identity_once_it_is_set() -> None:
    plain, parted = spec_of("kd", {}, accumulate=1), spec_of("kd", {})
    assert "accumulate" not in plain.command() and "--set recipe.accumulate=4" in parted.command()
    assert ExperimentSpec.from_yaml(parted.to_yaml()) == parted
    assert plain.fingerprint() != parted.fingerprint()
    before = plain.model_dump(mode="json")
    del before["recipe"]["accumulate"], before["teacher"]["spec"]["recipe"]["accumulate"]
    assert ExperimentSpec.from_mapping(before).fingerprint() == plain.fingerprint()
