"""The training loop: exact resume for every method, what is told and kept, and what happens when the loss breaks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import NORM, TinyNet, bench, random_loader, tiny_spec
from torch import Tensor

from kdengine.errors import NonFiniteLoss, Stopped
from kdengine.methods import Context, Method, Term, get_method, list_methods
from kdengine.models import Backbone, build_model
from kdengine.training import checkpoint
from kdengine.training.hardware import seed_everything
from kdengine.training.loop import Trainer
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace.rundir import RunDirectory

CPU = torch.device("cpu")
STEPS = 3


def make_trainer(
    path: Path,
    method: str | type[Method] = "none",
    *,
    params: dict[str, Any] | None = None,
    student: Callable[[], Backbone] = lambda: TinyNet(4),
    seed: int = 0,
    runtime: dict[str, Any] | None = None,
    device: torch.device = CPU,
    reduced: torch.dtype | None = None,
    **recipe: Any,
) -> Trainer:
    """A trainer over 3 steps of 8 random images an epoch, in a run folder that may have a checkpoint already."""
    numbers = {"epochs": 3, "batch_size": 8, "warmup_epochs": 0, "lr": 0.05} | recipe
    spec = tiny_spec(recipe=numbers, runtime=runtime or {}, seed=seed)
    run = RunDirectory(path)
    if not run.exists:
        run.create(spec.to_yaml(), spec.command())
    cls = get_method(method) if isinstance(method, str) else method
    settings = cls.Params(**(params or {}))
    needs = cls.requires(settings)
    teacher = None
    if needs.teacher:
        torch.manual_seed(99)
        mean, std = NORM
        teacher = FrozenTeacher(
            TinyNet(4, 16, (7, 9, 12)),
            mean=mean,
            std=std,
            batch_mean=mean,
            batch_std=std,
            device=device,
            reduced=reduced,
        )
    seed_everything(seed)
    net = student()
    shapes = teacher.shapes() if teacher else None
    built = cls.build(settings, Context(4, 24, net.shapes(), shapes, epochs=spec.recipe.epochs))
    seed_everything(seed + 1)
    net, built = net.to(device), built.to(device)

    def on_stop() -> None:
        raise Stopped(15)

    plain = {"augmentation": None, "shuffle": False, "drop_last": False}
    return Trainer(
        spec=spec, student=net, method=built, teacher=teacher, run=run, device=device, reduced=reduced, on_stop=on_stop,
        train=random_loader(views=needs.views, sampler=needs.sampler, device=device),
        meta=random_loader(count=12, device=device) if needs.meta or needs.meta_from_train else None,
        validation=lambda: random_loader(count=12, device=device, **plain).epoch(0),
    )  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are equal, bit for bit."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def told(run: RunDirectory, kind: str, key: str) -> list[dict[str, Any]]:
    """The events without what may differ between two equal runs."""
    timing = ("time", "images_per_s", "attempt")
    return [{name: value for name, value in event.items() if name not in timing} for event in run.latest(kind, key)]


def assert_equal_ends(run: RunDirectory, other: RunDirectory) -> None:
    assert same(checkpoint.load(run.last_checkpoint), checkpoint.load(other.last_checkpoint))
    for file in ("student.safetensors", "last.safetensors"):
        assert (run.path / file).read_bytes() == (other.path / file).read_bytes()
    assert told(run, "epoch", "epoch") == told(other, "epoch", "epoch")


def weights(run: RunDirectory) -> dict[str, Tensor]:
    return load_file(run.last_student_file)


def reached(trainer: Trainer, step: int) -> bool:
    """Whether the trainer is at that step, counted over all epochs."""
    return trainer.epoch * trainer.train_batches.steps_per_epoch + trainer.step >= step


def with_dropout() -> Backbone:
    return TinyNet(4, dropout=0.3)


CASES = [pytest.param(name, {}, {}, id=name) for name in list_methods()] + [
    pytest.param("grkd", {"meta_every": 2, "meta": "both"}, {}, id="grkd-often-both"),
    pytest.param("none", {}, {"mixup": 0.4, "cutmix": 1.0}, id="mixed-images"),
    pytest.param(
        "byot", {}, {"student": lambda: build_model("mobilenetv3_small", 4, 16, dropout=0.3)}, id="a-whole-network"
    ),
]


@pytest.mark.parametrize(("method", "params", "recipe"), CASES)
def test_stopped_twice_and_resumed_equals_undisturbed_bit_for_bit(
    tmp_path: Path, method: str, params: dict[str, Any], recipe: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"student": with_dropout, "ema": 0.9, "label_smoothing": 0.1, "clip_norm": 1.0}
    options |= {"params": params} | recipe
    undisturbed = make_trainer(tmp_path / "undisturbed", method, **options)
    undisturbed.fit()

    path = tmp_path / "disturbed"
    steps = undisturbed.train_batches.steps_per_epoch  # more of them where batches overlap
    # In the middle of the second epoch, then at the end of it, in a fresh object with other random states each time.
    for stop_at in (steps + 2, 2 * steps):
        trainer = make_trainer(path, method, **options)
        trainer.stop = partial(reached, trainer, stop_at)
        assert trainer.resume() == (stop_at > steps + 2)
        with pytest.raises(Stopped):
            trainer.fit()
        torch.rand(17)
    trainer = make_trainer(path, method, **options)
    assert trainer.resume()
    assert (trainer.epoch, trainer.step) == (2, 0)
    trainer.fit()
    assert_equal_ends(trainer.run, undisturbed.run)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["kd", "rkd", "multi_level"])
def test_a_compiled_run_takes_the_same_steps_and_resumes_bit_for_bit(tmp_path: Path, method: str) -> None:
    """Within rounding of the uncompiled run, and equal to itself when it is stopped and resumed."""
    plain = make_trainer(tmp_path / "plain", method, lr=0.001)
    plain.fit()
    undisturbed = make_trainer(tmp_path / "undisturbed", method, lr=0.001, runtime={"compile": True})
    undisturbed.fit()
    for one, other in zip(told(plain.run, "epoch", "epoch"), told(undisturbed.run, "epoch", "epoch"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    trainer = make_trainer(tmp_path / "disturbed", method, lr=0.001, runtime={"compile": True})
    trainer.stop = partial(reached, trainer, trainer.train_batches.steps_per_epoch + 2)
    with pytest.raises(Stopped):
        trainer.fit()
    trainer = make_trainer(tmp_path / "disturbed", method, lr=0.001, runtime={"compile": True})
    assert trainer.resume()
    trainer.fit()
    assert_equal_ends(trainer.run, undisturbed.run)


def test_a_first_stage_that_is_stopped_starts_over_and_ends_the_same(tmp_path: Path) -> None:
    params = {"first_stage": 2}
    undisturbed = make_trainer(tmp_path / "undisturbed", "grkd", params=params, epochs=1)
    undisturbed.fit()

    trainer = make_trainer(tmp_path / "run", "grkd", params=params, epochs=1)
    asked = iter([False, False, True])
    trainer.stop = lambda: next(asked)
    with pytest.raises(Stopped):
        trainer.fit()
    assert not trainer.run.last_checkpoint.exists(), "half a first stage is nothing to go on from"
    trainer = make_trainer(tmp_path / "run", "grkd", params=params, epochs=1)
    assert not trainer.resume()
    trainer.fit()
    assert_equal_ends(trainer.run, undisturbed.run)


def test_a_first_stage_is_not_repeated_once_it_has_ended(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", "grkd", params={"first_stage": 1})
    trainer.stop = lambda: trainer.step == 1
    with pytest.raises(Stopped):
        trainer.fit()
    again = make_trainer(tmp_path / "run", "grkd", params={"first_stage": 1})
    assert again.resume()
    graphs = {key: value.clone() for key, value in again.module.method.teacher_graphs.state_dict().items()}
    again.fit()
    assert same(graphs, dict(again.module.method.teacher_graphs.state_dict()))


@pytest.mark.parametrize(("recipe", "images_blend"), [({"mixup": 1.0}, True), ({"cutmix": 1.0}, False)])
def test_mixing_blends_images_and_labels_by_the_same_share(recipe: dict[str, float], images_blend: bool) -> None:
    from kdengine.training.mixing import make_mixer

    torch.manual_seed(0)
    batch = next(random_loader(augmentation=None).epoch(0))
    mixed = make_mixer(tiny_spec(recipe=recipe).recipe, 4)(batch)
    assert mixed.target.shape == (8, 4) and torch.allclose(mixed.target.sum(1), torch.ones(8))
    partner = batch.image.roll(1, 0)
    own = mixed.target[torch.arange(8), batch.target]
    different = batch.target != batch.target.roll(1)
    if images_blend:
        share = own[different][0]
        assert torch.allclose(mixed.image, share * batch.image + (1 - share) * partner, atol=1e-5)
    else:
        kept = (mixed.image == batch.image).all(dim=1).float().mean(dim=(1, 2))
        assert ((mixed.image == batch.image) | (mixed.image == partner)).all(), "every pixel is from one of the two"
        assert torch.allclose(kept[different], own[different], atol=1e-5)


def test_without_mixing_a_batch_passes_as_it_is() -> None:
    from kdengine.training.mixing import make_mixer

    batch = next(random_loader().epoch(0))
    assert make_mixer(tiny_spec().recipe, 4)(batch) is batch


def test_the_same_seed_repeats_another_differs(tmp_path: Path) -> None:
    trainers = [make_trainer(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for trainer in trainers:
        trainer.fit()
    first, again, other = (weights(trainer.run) for trainer in trainers)
    assert same(first, again)
    assert not same(first, other)


def test_logging_more_often_changes_no_weight(tmp_path: Path) -> None:
    often, seldom = (make_trainer(tmp_path / str(n), runtime={"log_every": n}) for n in (1, 1000))
    often.fit()
    seldom.fit()
    assert_equal_ends(often.run, seldom.run)
    assert len(list(often.run.events("step"))) == 9
    assert len(list(seldom.run.events("step"))) == 3, "the end of an epoch is always told"


def test_events_tell_every_term_raw_and_weighted(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", "kd")
    trainer.fit()
    steps, epochs = list(trainer.run.events("step")), list(trainer.run.events("epoch"))
    assert [event["step"] for event in steps] == list(range(1, 10))
    assert [event["epoch"] for event in epochs] == [1, 2, 3]
    for event in (*steps, *epochs):
        assert set(event["terms"]) == {"ce", "kd"}
        assert event["terms"]["kd"]["weighted"] == pytest.approx(0.9 * event["terms"]["kd"]["raw"])
        assert event["loss"] == pytest.approx(sum(term["weighted"] for term in event["terms"].values()))
    for epoch in range(3):
        own = steps[3 * epoch : 3 * epoch + 3]
        assert epochs[epoch]["loss"] == pytest.approx(sum(event["loss"] for event in own) / 3)
    assert trainer.run.status()["progress"] == {"epoch": 3, "epochs": 3, "step": 0, "steps": 3}


def test_the_ema_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    raw, averaged = make_trainer(tmp_path / "raw"), make_trainer(tmp_path / "ema", ema=0.9)
    raw.fit()
    averaged.fit()
    assert averaged.ema is not None and averaged.student is averaged.ema.module
    kept = weights(averaged.run)
    assert same(kept, dict(averaged.ema.module.body.state_dict()))
    assert not same(kept, dict(averaged.module.student.body.state_dict()))
    assert same(dict(averaged.module.student.state_dict()), dict(raw.module.student.state_dict())), "it only watches"


def test_best_by_validation_is_kept_and_named_epochs_too(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", runtime={"keep_epochs": [1, 3]})
    scores = iter([0.5, 0.9, 0.7])
    measure = trainer.validate

    def scripted() -> Any:
        from dataclasses import replace

        return replace(measure(), accuracy=next(scores))

    trainer.validate = scripted  # type: ignore[method-assign]
    saved: list[bytes] = []
    trainer.on_checkpoint = lambda: saved.append(trainer.run.last_student_file.read_bytes())
    trainer.fit()
    run = trainer.run
    assert run.student_file.read_bytes() == saved[1]
    assert run.last_student_file.read_bytes() == saved[2]
    assert sorted(file.name for file in run.checkpoints.glob("epoch-*")) == [
        "epoch-0001.safetensors",
        "epoch-0003.safetensors",
    ]
    assert (run.checkpoints / "epoch-0001.safetensors").read_bytes() == saved[0]
    assert run.status()["best"] == {"accuracy": 0.9, "epoch": 2}
    assert [event["best"] for event in run.events("epoch")] == [True, True, False]


class Broken(Method):
    """Cross-entropy, and a second term that turns bad at one step: its value, or only its gradient."""

    name = "broken"
    bad_step = 5
    how = "value"

    def __init__(self, params: Any, context: Context) -> None:
        super().__init__(params, context)
        self.step = 0

    def forward(self, batch: Any, student: Any, teacher: Any, clock: Tensor) -> dict[str, Term]:
        logits = student(batch.image).logits
        self.step += 1
        odd = logits.mean() * 0
        if self.step == self.bad_step:
            # The square root of zero is zero, its gradient is not a number.
            odd = odd * float("nan") if self.how == "value" else (logits * 0).sum().sqrt()
        return {"ce": Term(self.cross_entropy(logits, batch.target), 1.0), "odd": Term(odd, 1.0)}


def broken(step: int, how: str = "value") -> type[Method]:
    return type("Broken", (Broken,), {"bad_step": step, "how": how})


@pytest.mark.parametrize("log_every", [1, 1000])
def test_a_nan_loss_names_the_term_and_keeps_the_last_checkpoint(tmp_path: Path, log_every: int) -> None:
    trainer = make_trainer(tmp_path / "run", broken(5), runtime={"log_every": log_every})
    with pytest.raises(
        NonFiniteLoss, match=r"the loss term 'odd'.* at epoch 2, .*last good checkpoint is kept"
    ) as caught:
        trainer.fit()
    assert caught.value.failure_class == "nan_loss"
    kept = checkpoint.load(trainer.run.last_checkpoint)
    assert (kept["epoch"], kept["step"]) == (1, 0) and checkpoint.all_finite(kept)
    assert make_trainer(tmp_path / "run").resume()


def test_a_nan_gradient_in_the_last_step_of_an_epoch_spoils_no_file(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", broken(2 * STEPS, "gradient"))
    with pytest.raises(NonFiniteLoss, match=r"epoch 2.*last good checkpoint is kept"):
        trainer.fit()
    run = trainer.run
    assert checkpoint.load(run.last_checkpoint)["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in load_file(run.student_file).values())
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert [event["epoch"] for event in run.events("epoch")] == [1]


def test_a_learning_rate_far_too_high_ends_in_words(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", lr=10.0, epochs=60, momentum=0.99)
    trainer.recipe = trainer.recipe.model_copy(update={"lr": 1e12})
    with pytest.raises(NonFiniteLoss):
        trainer.fit()


def test_a_step_of_any_method_leaves_the_teacher_alone() -> None:
    trial = bench("kd")
    assert trial.teacher is not None and not any(p.requires_grad for p in trial.teacher.backbone.parameters())
