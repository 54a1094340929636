"""What only the graph method promises: an exact hyper-gradient, an untouched student, a first stage that teaches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support import Bench, FakeBatch, bench
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.methods import StepContext
from kdengine.methods._hypergradient import hyper_gradient
from kdengine.models import Outputs

RATE = 0.1
STEP = 1e-5
NOW = StepContext(step=0, rate=RATE)


def make_smooth(module: nn.Module) -> None:
    """Puts SiLU in place of ReLU: finite differences across a kink would say nothing."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.SiLU())
        else:
            make_smooth(child)


def in_double(**params: Any) -> tuple[Bench, Any, FakeBatch]:
    """The method on float64 nets with batch norm, its teacher, and a meta batch."""
    trial = bench("grkd", meta_every=1, width=6, kd_weight=0.0, node_weight=5.0, relation_weight=5.0, **params)
    for module in (trial.student, trial.teacher_net, trial.method):
        make_smooth(module.double())
    teacher_net = trial.teacher_net.eval()

    @torch.no_grad()
    def teacher(x: Tensor) -> Outputs:
        return teacher_net(x)

    batch = FakeBatch((trial.batch.image.double(),), trial.batch.target, trial.batch.index)
    trial.batch = batch
    torch.manual_seed(7)
    meta = FakeBatch((torch.randn_like(batch.image),), batch.target.flip(0), batch.index)
    return trial, teacher, meta


def outcome(trial: Bench, teacher: Any, meta: FakeBatch, inner_steps: int) -> float:
    """The loss on the meta batch after the look-ahead, by plain copies and plain gradient steps."""
    method, image = trial.method, trial.batch.image
    student, graphs = copy.deepcopy(trial.student), copy.deepcopy(method.student_graphs)
    guide = teacher(image)
    with torch.no_grad():
        taught = method.teacher_graphs[-1](guide.embedding).nodes
        weights = [torch.ones(len(image), dtype=torch.float64)] * 2
        if method.params.meta in ("weights", "both"):
            seen = copy.deepcopy(trial.student)(image).embedding
            weights = list(method.sample_weights(seen, guide.embedding))
    parameters = [*student.parameters(), *graphs.parameters()]

    def step(loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter -= RATE * gradient

    for _ in range(inner_steps):
        nodes = graphs[-1](student(image).embedding).nodes
        node = (weights[0] * (1 - (nodes * taught).sum(1))).mean()
        off = ~torch.eye(len(image), dtype=torch.bool)

        def relations(h: Tensor, off: Tensor = off) -> Tensor:
            return ((h @ h.T / method.params.relation_temperature)[off].view(len(h), -1)).log_softmax(1)

        p, q = relations(taught), relations(nodes)
        relation = (weights[1] * (p.exp() * (p - q)).sum(1)).mean()
        step(method.params.node_weight * node + method.params.relation_weight * relation)
    step(F.cross_entropy(student(image).logits, trial.batch.target))
    with torch.no_grad():
        return F.cross_entropy(student(meta.image).logits, meta.target).item()


@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("meta", ["weights", "teacher_graph", "both"])
def test_meta_gradient_equals_finite_differences(meta: str, inner_steps: int) -> None:
    trial, teacher, held_out = in_double(meta=meta, inner_steps=inner_steps)
    learnt = trial.method.meta_parameters()
    before = [parameter.detach().clone() for parameter in learnt]
    trial.method.before_step(trial.batch, lambda: held_out, trial.student, teacher, NOW)
    gradients = [parameter.grad.clone() for parameter in learnt]
    with torch.no_grad():
        for parameter, value in zip(learnt, before, strict=True):
            parameter.copy_(value)  # undo the update itself
    torch.manual_seed(3)
    for _ in range(3):
        direction = [torch.randn_like(parameter) for parameter in learnt]

        def moved(by: float, direction: list[Tensor] = direction) -> float:
            with torch.no_grad():
                for parameter, value, way in zip(learnt, before, direction, strict=True):
                    parameter.copy_(value + by * way)
            return outcome(trial, teacher, held_out, inner_steps)

        numeric = (moved(STEP) - moved(-STEP)) / (2 * STEP)
        exact = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
        assert abs(exact) > 1e-9, "a gradient of nothing proves nothing"
        assert exact == pytest.approx(numeric, rel=1e-5)


def test_looking_ahead_leaves_the_student_as_it_is() -> None:
    trial = bench("grkd", meta_every=1)
    for parameter in trial.student.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    state = {name: value.clone() for name, value in trial.student.state_dict().items()}
    graphs = copy.deepcopy(trial.method.student_graphs.state_dict())
    weights = copy.deepcopy(trial.method.sample_weights.state_dict())
    trial.method.before_step(trial.batch, lambda: trial.batch, trial.student, trial.teacher, NOW)
    assert all(torch.equal(value, state[name]) for name, value in trial.student.state_dict().items())
    assert all(torch.equal(value, graphs[name]) for name, value in trial.method.student_graphs.state_dict().items())
    assert all(bool((parameter.grad == 0.5).all()) for parameter in trial.student.parameters())
    moved = trial.method.sample_weights.state_dict()
    assert any(not torch.equal(value, weights[name]) for name, value in moved.items()), "nothing was learnt"


@pytest.mark.parametrize(("meta", "every", "asked"), [("weights", 3, 2), ("weights", 1, 6), ("off", 1, 0)])
def test_frequency(meta: str, every: int, asked: int) -> None:
    trial = bench("grkd", meta=meta, meta_every=every)
    calls = []

    def held_out() -> FakeBatch:
        calls.append(1)
        return trial.batch

    for step in range(6):
        trial.method.before_step(trial.batch, held_out, trial.student, trial.teacher, StepContext(step, RATE))
    assert len(calls) == asked


def test_meta_steps_make_the_student_learn_better() -> None:
    trial = bench("grkd", meta_every=1, meta_rate=0.02, meta="teacher_graph", first_stage=1)

    def reached() -> float:
        method = copy.deepcopy(trial.method)
        student = copy.deepcopy(trial.student)
        optimizer = torch.optim.SGD([*student.parameters(), *method.student_graphs.parameters()], lr=RATE)
        for _ in range(3):
            terms = method(trial.batch, student, trial.teacher, trial.clock)
            optimizer.zero_grad()
            (terms["node"].weighted + terms["relation"].weighted).backward()
            optimizer.step()
        optimizer.zero_grad()
        F.cross_entropy(student(trial.batch.image).logits, trial.batch.target).backward()
        optimizer.step()
        with torch.no_grad():
            return F.cross_entropy(student(trial.batch.image).logits, trial.batch.target).item()

    before = reached()
    for step in range(30):
        trial.method.before_step(
            trial.batch, lambda: trial.batch, trial.student, trial.teacher, StepContext(step, RATE)
        )
    assert reached() < before


def test_first_stage_teaches_the_teachers_graph_only() -> None:
    trial = bench("grkd", first_stage=80)
    before = copy.deepcopy(
        {"teacher": trial.teacher_net.state_dict(), "student": trial.method.student_graphs.state_dict()}
    )

    def accuracy() -> float:
        graph = trial.method.teacher_graphs[-1](trial.teacher(trial.batch.image).embedding)
        return float((graph.logits.argmax(1) == trial.batch.target).float().mean())

    untaught = accuracy()
    assert sum(1 for _ in trial.method.pretrain(lambda epoch: [trial.batch], trial.teacher)) == 80
    assert accuracy() >= untaught + 0.5
    after = {"teacher": trial.teacher_net.state_dict(), "student": trial.method.student_graphs.state_dict()}
    for side, state in before.items():
        assert all(torch.equal(value, after[side][name]) for name, value in state.items())


def test_sample_weights_have_mean_one_and_bounds() -> None:
    trial = bench("grkd")
    arrays = trial.method.inspect(trial.student(trial.batch.image), trial.teacher(trial.batch.image))
    for name in ("node_weight", "relation_weight"):
        weights = arrays[name].values
        assert weights.mean().item() == pytest.approx(1, abs=1e-5)
        assert weights.min() > 0.36 and weights.max() < 2.72


def test_graphs_on_every_stage_or_on_the_embedding() -> None:
    assert len(bench("grkd").method.student_graphs) == 1
    trial = bench("grkd", attach="stages")
    assert len(trial.method.student_graphs) == 4
    assert torch.isfinite(trial.terms()["node"].raw)


def test_without_meta_learning_no_image_is_held_out() -> None:
    method = type(bench("grkd").method)
    assert method.requires(method.Params(meta_data="held_out")).meta == 0.1
    assert method.requires(method.Params(meta="off")).meta == 0
    assert method.requires(method.Params(meta_data="same_batch")).meta == 0
    from_train = method.requires(method.Params(meta_data="train"))
    assert from_train.meta == 0 and from_train.meta_from_train
    assert not method.requires(method.Params(meta_data="train", meta="off")).meta_from_train


def test_hyper_gradient_of_a_quadratic_by_hand() -> None:
    # theta_1 = theta_0 - r (theta_0 - w); outer = theta_1^2 / 2; d outer / d w = theta_1 r.
    w = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    start = {"theta": torch.tensor(1.0, dtype=torch.float64)}
    value, (gradient,) = hyper_gradient(
        start, [lambda t: (t["theta"] - w) ** 2 / 2], lambda t: t["theta"] ** 2 / 2, 0.25, [w]
    )
    assert value.item() == pytest.approx(1.5**2 / 2)
    assert gradient.item() == pytest.approx(1.5 * 0.25)
    assert start["theta"].item() == 1 and not start["theta"].requires_grad


def test_a_meta_parameter_without_influence_gets_zero() -> None:
    idle = nn.Parameter(torch.ones(2))
    used = nn.Parameter(torch.ones(()))
    _, (none, some) = hyper_gradient(
        {"t": torch.ones(())}, [lambda t: used * t["t"]], lambda t: t["t"], 0.1, [idle, used]
    )
    assert torch.equal(none, torch.zeros(2)) and some.item() == pytest.approx(-0.1)


def test_a_function_without_second_derivative_in_torch_is_looked_through() -> None:
    w = torch.tensor([0.3, -5.0], dtype=torch.float64, requires_grad=True)
    start = {"t": torch.tensor([1.0, 2.0], dtype=torch.float64)}

    def after(weight: Tensor) -> tuple[Tensor, list[Tensor]]:
        return hyper_gradient(start, [lambda t: F.hardsigmoid(weight * t["t"]).sum()], lambda t: t["t"].sum(), 0.5, [w])

    _, (gradient,) = after(w)
    # d hardsigmoid(w t) / d t = w / 6 inside (-3, 3), 0 outside; the step is -0.5 of it.
    assert torch.allclose(gradient, torch.tensor([-0.5 / 6, 0.0], dtype=torch.float64))
