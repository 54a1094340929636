"""What every method promises, over all registered ones: a new method is tested the moment it is registered."""

from __future__ import annotations

import contextlib
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from support import Bench, TinyNet, bench, total
from torch import Tensor

from kdengine.errors import BadInput
from kdengine.fields import about
from kdengine.methods import get_method, list_methods
from kdengine.methods.base import InspectedArray, Kind
from kdengine.models import build_model

METHODS = list_methods()
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

pytestmark = pytest.mark.parametrize("name", METHODS)


def autocast(precision: str) -> Any:
    dtype = PRECISIONS[precision]
    return contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)


def gradients(trial: Bench) -> list[Tensor]:
    return [parameter.grad for parameter in trial.parameters() if parameter.grad is not None]


def all_finite(tensors: Any) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_terms_and_gradients_are_finite(name: str, precision: str) -> None:
    trial = bench(name)
    with autocast(precision):
        terms = trial.terms()
    assert terms and all(term.raw.ndim == 0 for term in terms.values())
    assert all_finite(term.weighted for term in terms.values())
    total(terms).backward()
    assert gradients(trial) and all_finite(gradients(trial))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_saturated_logits_stay_finite(name: str, precision: str) -> None:
    trial = bench(name)

    def saturated(network: Any, sign: float) -> Any:
        def answer(x: Tensor) -> Any:
            outputs = network(x)
            # The value is replaced, the gradient passes as it is: a factor of 1e4 on it would be the test's own doing.
            extreme = outputs.logits.detach().sign() * sign * 1e4
            return outputs._replace(logits=outputs.logits + (extreme - outputs.logits).detach())

        return answer

    with autocast(precision):
        terms = trial.terms(saturated(trial.student, 1.0), trial.teacher and saturated(trial.teacher, -1.0))
    total(terms).backward()
    assert all_finite(term.weighted for term in terms.values())
    assert all_finite(gradients(trial))


def test_gradients_reach_student_and_own_parts_never_the_teacher(name: str) -> None:
    trial = bench(name)
    if trial.teacher_net is not None:
        before = {key: value.clone() for key, value in trial.teacher_net.state_dict().items()}
    # What a method replaces for deployment (the classifier, by another net's) need not learn.
    replaced = set(trial.student.classifier.parameters()) if get_method(name).deploy_extra else set()
    parameters = [parameter for parameter in trial.parameters() if parameter not in replaced]
    # Two steps: a part that starts at zero may hide others behind it in the first.
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    reached = [False] * len(parameters)
    for _ in range(2):
        optimizer.zero_grad()
        total(trial.terms()).backward()
        now = [parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters]
        reached = [a or b for a, b in zip(reached, now, strict=True)]
        optimizer.step()
    assert all(reached), "some parameter of student or method never gets a gradient"
    if trial.teacher_net is not None:
        assert all(parameter.grad is None for parameter in trial.teacher_net.parameters())
        assert not trial.teacher_net.training
        after = trial.teacher_net.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items()), "the teacher changed"


def test_every_term_matters(name: str) -> None:
    def gradient(without: str | None) -> list[Tensor]:
        trial = bench(name)
        trial.terms()  # what remembers has something to remember
        torch.manual_seed(1)
        kept = {key: term for key, term in trial.terms().items() if key != without}
        if kept:
            total(kept).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in trial.parameters()]

    whole = gradient(None)
    for term in bench(name).terms():
        changed = [not torch.equal(a, b) for a, b in zip(whole, gradient(term), strict=True)]
        assert any(changed), f"leaving {term} out changes nothing"


def test_twenty_steps_lower_the_loss(name: str) -> None:
    trial = bench(name)
    optimizer = torch.optim.SGD(trial.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(21):
        optimizer.zero_grad()
        loss = total(trial.terms())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_equal_inputs_give_equal_terms(name: str) -> None:
    def values() -> list[float]:
        trial = bench(name)
        return [term.raw.item() for term in trial.terms().values()]

    assert values() == values()


def test_state_survives_a_round_trip(name: str) -> None:
    trained, fresh = bench(name), bench(name)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.01)
    total(trained.terms()).backward()
    optimizer.step()
    trained.method.on_epoch_end(0)
    fresh.method.load_state_dict(trained.method.state_dict())
    fresh.student.load_state_dict(trained.student.state_dict())

    def values(trial: Bench) -> dict[str, float]:
        torch.manual_seed(1)
        return {key: term.weighted.item() for key, term in trial.terms().items()}

    assert values(trained) == values(fresh)


def test_what_is_deployed_is_the_plain_student_or_what_it_declares(name: str) -> None:
    trial = bench(name)
    deployed = trial.method.deployable(trial.student)
    extra = get_method(name).deploy_extra
    if extra:
        assert set(extra) <= {key.partition(".")[0] for key in deployed.body.state_dict()}
        assert set(trial.student.parameters()) < set(deployed.parameters()), "the body is shared, not copied"
        outputs = deployed.eval()(trial.batch.image)
        assert outputs.logits.shape == (10, 5)
        assert torch.allclose(deployed.classifier(outputs.embedding), outputs.logits, atol=1e-6)
        return
    assert {key: value.shape for key, value in deployed.state_dict().items()} == {
        key: value.shape for key, value in TinyNet(5, 16).state_dict().items()
    }


def test_two_classes_work_or_are_refused_in_words(name: str) -> None:
    try:
        trial = bench(name, classes=2)
    except BadInput as error:
        assert "class" in str(error)
        return
    total(trial.terms()).backward()
    assert all_finite(gradients(trial))


@pytest.mark.parametrize("image_size", [16, 32, 64, 224])
def test_picture_sizes(name: str, image_size: int) -> None:
    trial = bench(name, image_size=image_size, batch_size=4)
    total(trial.terms()).backward()
    assert all_finite(gradients(trial))


def test_nets_of_the_catalog(name: str) -> None:
    student, teacher = build_model("mobilenetv3_small", 5, 16), build_model("resnet8x4", 5, 16)
    trial = bench(name, student=student, teacher=teacher, batch_size=4)
    total(trial.terms()).backward()
    assert all_finite(gradients(trial))


def test_exits_answer_for_every_class(name: str) -> None:
    trial = bench(name)
    trial.student.eval()
    trial.method.eval()
    exits = trial.method.exits()
    assert len({exit_.name for exit_ in exits}) == len(exits)
    for exit_ in exits:
        assert exit_.logits(trial.student(trial.batch.image)).shape == (10, 5)


def test_inspected_arrays_are_of_a_known_kind(name: str) -> None:
    trial = bench(name)
    image = trial.batch.image
    arrays = trial.method.inspect(trial.student(image), trial.teacher(image) if trial.teacher else None)
    for array in arrays.values():
        assert isinstance(array, InspectedArray) and array.kind in get_args(Kind)
        assert torch.isfinite(array.values).all()


def test_looking_inside_changes_nothing(name: str) -> None:
    trial = bench(name)
    with torch.no_grad():
        outputs = trial.student(trial.batch.image), trial.teacher(trial.batch.image) if trial.teacher else None
    before = {key: value.clone() for key, value in trial.method.state_dict().items() if isinstance(value, Tensor)}
    state = torch.get_rng_state()
    trial.method.inspect(*outputs)
    after = trial.method.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert torch.equal(state, torch.get_rng_state()) and trial.method.training


def test_every_choice_works(name: str) -> None:
    for key, field in get_method(name).Params.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for choice in choices:
            trial = bench(name, **{key: choice})
            total(trial.terms()).backward()
            assert gradients(trial) and all_finite(gradients(trial)), f"{key} = {choice}"


def test_mixed_labels_of_one_class_are_plain_labels(name: str) -> None:
    if not get_method(name).mixes:
        pytest.skip("refuses mixup and cutmix")
    plain, mixed = bench(name), bench(name)
    shares = torch.nn.functional.one_hot(mixed.batch.target, 5).float()
    mixed.batch = type(mixed.batch)(mixed.batch.views, shares, mixed.batch.index)
    wanted = {key: term.raw.item() for key, term in plain.terms().items()}
    assert {key: term.raw.item() for key, term in mixed.terms().items()} == pytest.approx(wanted, rel=1e-5)


def test_second_derivatives_are_finite(name: str) -> None:
    trial = bench(name)
    parameters = trial.parameters()
    first = torch.autograd.grad(total(trial.terms()), parameters, create_graph=True, allow_unused=True)
    slope = torch.stack([gradient.square().sum() for gradient in first if gradient is not None]).sum()
    second = torch.autograd.grad(slope, parameters, allow_unused=True)
    assert all_finite(gradient for gradient in second if gradient is not None)


def test_memory_grows_no_faster_than_the_batch(name: str) -> None:
    small, large = (saved_bytes(name, batch) for batch in (128, 512))
    assert large < 4.4 * small


def saved_bytes(name: str, batch_size: int) -> int:
    """Bytes that autograd keeps of one step until its backward pass, weights aside; each memory counts once."""
    this = bench(name, batch_size=batch_size, samples=512)
    known = {parameter.untyped_storage().data_ptr() for parameter in this.parameters()}
    sizes: dict[int, int] = {}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in known:
            sizes[memory.data_ptr()] = memory.nbytes()
        kept.append(tensor.detach())  # a freed memory's place could be given out again
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        this.terms()
    return sum(sizes.values())


def test_it_says_what_it_is(name: str) -> None:
    method = get_method(name)
    assert method.name == name and method.title and method.description.endswith(".") and method.family
    assert method.paper or method.family == "baseline"
    for key, field in method.Params.model_fields.items():
        assert field.title and field.description, f"{name}.{key} has no title or description"
        if field.annotation in (int, float):
            assert field.metadata, f"{name}.{key} has no bounds"
            assert about(field)["source"], f"{name}.{key} does not say where its default comes from"
    method.Params()


def test_its_ranges_for_tuning_are_allowed_values(name: str) -> None:
    method = get_method(name)
    for key, field in method.Params.model_fields.items():
        tune = about(field).get("tune")
        if tune:
            method.Params(**{key: tune["low"]})
            method.Params(**{key: tune["high"]})
            assert not tune["log"] or tune["low"] > 0
