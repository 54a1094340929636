"""What every method promises, each promise a function of the method's name that raises AssertionError in words."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor

from kdengine.errors import BadInput
from kdengine.methods import InspectedArray, get_method
from kdengine.methods.base import Kind
from kdengine.models.backbone import build_model
from kdengine.spec.fields import about
from kdengine.testing.step_checks import STEP_CHECKS
from kdengine.testing.trial import TinyNet, Trial, total, trial_of

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
Check = Callable[[str], None]


def check_method(name: str) -> None:
    """Tries all promises on a registered method, and raises one AssertionError that names all that it breaks.

    Raises:
        AssertionError: with a line for each broken promise.
        UnknownName: no such method.
    """
    get_method(name)
    broken = []
    for check in METHOD_CHECKS:
        try:
            check(name)
        except Exception as error:
            # Any error of a method is a broken promise; the others are tried all the same.
            said = " ".join(str(error).split()) or type(error).__name__
            broken.append(f"{check.__name__}: {said}")
    if broken:
        count = f"{len(broken)} of {len(METHOD_CHECKS)} promises"
        raise AssertionError(f"the method {name!r} breaks {count}:\n" + "\n".join(f"- {line}" for line in broken))


def terms_and_gradients_are_finite(name: str) -> None:
    """In float32, and under autocast in bfloat16 and float16."""
    for precision in PRECISIONS:
        trial = trial_of(name)
        with _autocast(precision):
            terms = trial.terms()
        assert terms, "forward gave no terms, expected at least one"
        for key, term in terms.items():
            assert term.raw.ndim == 0, f"the term {key!r} has shape {tuple(term.raw.shape)}, expected a scalar"
        assert _finite(term.weighted for term in terms.values()), f"a term is not finite in {precision}"
        total(terms).backward()
        gradients = _gradients(trial)
        assert gradients, "no parameter has a gradient"
        assert _finite(gradients), f"a gradient is not finite in {precision}"


def saturated_logits_stay_finite(name: str) -> None:
    """Logits of ten thousand, in all three precisions."""
    for precision in PRECISIONS:
        trial = trial_of(name)
        with _autocast(precision):
            terms = trial.terms(_saturated(trial.student, 1.0), trial.teacher and _saturated(trial.teacher, -1.0))
        total(terms).backward()
        assert _finite(term.weighted for term in terms.values()), f"a term is not finite in {precision}"
        assert _finite(_gradients(trial)), f"a gradient is not finite in {precision}"


def gradients_reach_student_and_own_parts_never_the_teacher(name: str) -> None:
    """Every parameter within two steps; the teacher stays as it is, in eval mode."""
    trial = trial_of(name)
    teacher = trial.teacher_net
    before = {} if teacher is None else copy.deepcopy(teacher.state_dict())
    # What a method replaces for deployment (the classifier, by another net's) need not learn.
    replaced = set(trial.student.classifier.parameters()) if get_method(name).deploy_extra else set()
    parameters = [parameter for parameter in trial.parameters() if parameter not in replaced]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    reached = [False] * len(parameters)
    for _ in range(2):  # a part that starts at zero may hide others behind it in the first
        optimizer.zero_grad()
        total(trial.terms()).backward()
        now = [parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters]
        reached = [a or b for a, b in zip(reached, now, strict=True)]
        optimizer.step()
    assert all(reached), f"{reached.count(False)} parameters of student or method never get a gradient"
    if teacher is not None:
        assert all(parameter.grad is None for parameter in teacher.parameters()), "the teacher gets gradients"
        assert not teacher.training, "the teacher is put into training mode"
        after = teacher.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items()), "the teacher changes"


def every_term_matters(name: str) -> None:
    """Leaving a term out changes some gradient."""

    def gradient(without: str | None) -> list[Tensor]:
        trial = trial_of(name)
        trial.terms()  # what remembers has something to remember
        torch.manual_seed(1)
        kept = {key: term for key, term in trial.terms().items() if key != without}
        if kept:
            total(kept).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in trial.parameters()]

    whole = gradient(None)
    for term in trial_of(name).terms():
        changed = [not torch.equal(a, b) for a, b in zip(whole, gradient(term), strict=True)]
        assert any(changed), f"leaving the term {term!r} out changes nothing"


def twenty_steps_lower_the_loss(name: str) -> None:
    """On one batch, with plain SGD."""
    trial = trial_of(name)
    optimizer = torch.optim.SGD(trial.parameters(), lr=0.02, momentum=0.9)
    losses = [_step(trial, optimizer) for _ in range(21)]
    assert losses[-1] < losses[0], f"the loss goes from {losses[0]:.4g} to {losses[-1]:.4g} in twenty steps"


def equal_inputs_give_equal_terms(name: str) -> None:
    """Random numbers are drawn from torch's generator alone."""

    def values() -> list[float]:
        return [term.raw.item() for term in trial_of(name).terms().values()]

    assert values() == values(), "the same seed gives other terms"


def a_resumed_run_goes_on_bit_for_bit(name: str) -> None:
    """Four steps in a row equal two steps, a checkpoint read by a fresh method, and two more."""

    def optimizer_of(trial: Trial) -> torch.optim.Optimizer:
        return torch.optim.SGD(trial.parameters(), lr=0.01, momentum=0.9)

    def steps(trial: Trial, optimizer: torch.optim.Optimizer, first: int) -> None:
        for number in range(first, first + 2):
            torch.manual_seed(number)
            _step(trial, optimizer)
        trial.method.on_epoch_end(first // 2)

    whole = trial_of(name)
    optimizer = optimizer_of(whole)
    steps(whole, optimizer, 0)
    state = copy.deepcopy([whole.method.state_dict(), whole.student.state_dict(), optimizer.state_dict()])
    steps(whole, optimizer, 2)
    resumed = trial_of(name)
    again = optimizer_of(resumed)
    for part, kept in zip((resumed.method, resumed.student, again), state, strict=True):
        part.load_state_dict(kept)  # type: ignore[attr-defined]
    steps(resumed, again, 2)
    expected = whole.student.state_dict()
    different = [key for key, value in resumed.student.state_dict().items() if not torch.equal(value, expected[key])]
    assert not different, f"{len(different)} tensors of the student differ; is all that is remembered in the state?"
    torch.manual_seed(9)
    one = {key: term.weighted.item() for key, term in whole.terms().items()}
    torch.manual_seed(9)
    assert one == {key: term.weighted.item() for key, term in resumed.terms().items()}, "the next terms differ"


def what_is_deployed_is_the_plain_student_or_what_it_declares(name: str) -> None:
    """Nothing of the method is shipped but what ``deploy_extra`` names, and the body is shared."""
    trial = trial_of(name)
    deployed = trial.method.deployable(trial.student)
    extra = get_method(name).deploy_extra
    if extra:
        assert set(extra) <= {key.partition(".")[0] for key in deployed.body.state_dict()}, "deploy_extra is not there"
        assert set(trial.student.parameters()) < set(deployed.parameters()), "the body is copied, expected it shared"
        outputs = deployed.eval()(trial.batch.image)
        assert outputs.logits.shape == (10, 5), f"logits of shape {tuple(outputs.logits.shape)}, expected (10, 5)"
        own = deployed.classifier(outputs.embedding)
        assert torch.allclose(own, outputs.logits, atol=1e-6), "classifier(embedding) are not the logits"
        return
    found, plain = deployed.state_dict(), TinyNet(5, 16).state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in plain.items()}, (
        "what is deployed is not the plain student; name what is added in deploy_extra"
    )


def two_classes_work_or_are_refused_in_words(name: str) -> None:
    """A refusal is a BadInput that speaks of classes."""
    try:
        trial = trial_of(name, classes=2)
    except BadInput as error:
        assert "class" in str(error), f"it is refused without a word on classes: {error}"
        return
    total(trial.terms()).backward()
    assert _finite(_gradients(trial)), "a gradient is not finite with two classes"


def image_sizes_work(name: str) -> None:
    """From 16 to 224 px."""
    for image_size in (16, 32, 64, 224):
        trial = trial_of(name, image_size=image_size, batch_size=4)
        total(trial.terms()).backward()
        assert _finite(_gradients(trial)), f"a gradient is not finite at {image_size} px"


def nets_of_the_catalog_work(name: str) -> None:
    """Student and teacher with other stages and channels."""
    student, teacher = build_model("mobilenetv3_small", 5, 16), build_model("resnet8x4", 5, 16)
    trial = trial_of(name, student=student, teacher=teacher, batch_size=4)
    total(trial.terms()).backward()
    assert _finite(_gradients(trial)), "a gradient is not finite"


def exits_predict_every_class(name: str) -> None:
    """Each under a name of its own."""
    trial = trial_of(name)
    trial.student.eval()
    trial.method.eval()
    exits = trial.method.exits()
    assert len({exit_.name for exit_ in exits}) == len(exits), "two early exits have one name"
    for exit_ in exits:
        shape = tuple(exit_.logits(trial.student(trial.batch.image)).shape)
        assert shape == (10, 5), f"the early exit {exit_.name} gives logits of shape {shape}, expected (10, 5)"


def inspected_arrays_are_of_a_known_kind(name: str) -> None:
    """And finite."""
    trial = trial_of(name)
    image = trial.batch.image
    arrays = trial.method.inspect(trial.student(image), trial.teacher(image) if trial.teacher else None)
    for key, array in arrays.items():
        assert isinstance(array, InspectedArray), f"{key!r} is a {type(array).__name__}, expected an InspectedArray"
        assert array.kind in get_args(Kind), f"{key!r} is of the kind {array.kind!r}, expected one of {get_args(Kind)}"
        assert torch.isfinite(array.values).all(), f"{key!r} is not finite"


def looking_inside_changes_nothing(name: str) -> None:
    """Neither state, nor random numbers, nor the training mode."""
    trial = trial_of(name)
    with torch.no_grad():
        outputs = trial.student(trial.batch.image), trial.teacher(trial.batch.image) if trial.teacher else None
    before = {key: value.clone() for key, value in trial.method.state_dict().items() if isinstance(value, Tensor)}
    state = torch.get_rng_state()
    trial.method.inspect(*outputs)
    after = trial.method.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items()), "inspect changes the state"
    assert torch.equal(state, torch.get_rng_state()), "inspect draws random numbers"
    assert trial.method.training, "inspect leaves the training mode"


def every_choice_works(name: str) -> None:
    """Each word of each setting that takes words."""
    for key, field in get_method(name).Params.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for choice in choices:
            trial = trial_of(name, **{key: choice})
            total(trial.terms()).backward()
            gradients = _gradients(trial)
            assert gradients and _finite(gradients), f"{key}={choice}: no gradient, or one that is not finite"


def mixed_labels_of_one_class_are_plain_labels(name: str) -> None:
    """Of a method that says it ``mixes``."""
    if not get_method(name).mixes:
        return
    plain, mixed = trial_of(name), trial_of(name)
    shares = torch.nn.functional.one_hot(mixed.batch.target, 5).float()
    mixed.batch = type(mixed.batch)(mixed.batch.views, shares, mixed.batch.index)
    wanted = {key: term.raw for key, term in plain.terms().items()}
    for key, term in mixed.terms().items():
        near = torch.isclose(term.raw, wanted[key], rtol=1e-5)
        assert near, f"the term {key!r} is {term.raw:.6g} for shares of one class, {wanted[key]:.6g} for labels"


def second_derivatives_are_finite(name: str) -> None:
    """As a method that looks ahead through a step of another needs them."""
    trial = trial_of(name)
    parameters = trial.parameters()
    first = torch.autograd.grad(total(trial.terms()), parameters, create_graph=True, allow_unused=True)
    slope = torch.stack([gradient.square().sum() for gradient in first if gradient is not None]).sum()
    second = torch.autograd.grad(slope, parameters, allow_unused=True)
    assert _finite(gradient for gradient in second if gradient is not None), "a second derivative is not finite"


def memory_grows_no_faster_than_the_batch(name: str) -> None:
    """What autograd keeps of a step, from 128 to 512 images."""
    small, large = (_saved_bytes(name, batch) for batch in (128, 512))
    assert large < 4.4 * small, f"four times the images keep {large / small:.1f} times the bytes; compute in groups"


def it_says_what_it_is(name: str) -> None:
    """Name, title, description, paper, family; title, description, bounds and source of every setting."""
    method = get_method(name)
    assert method.name == name and method.title and method.family, "name, title and family are needed"
    assert method.description.endswith("."), "description: expected a sentence"
    assert method.paper or method.family == "baseline", "paper: expected where the method comes from"
    for key, field in method.Params.model_fields.items():
        assert field.title and field.description, f"the setting {key} has no title or no description"
        if field.annotation in (int, float):
            assert field.metadata, f"the setting {key} has no bounds"
            assert about(field)["source"], f"the setting {key} does not say where its default comes from"
    method.Params()


def its_ranges_for_tuning_are_allowed_values(name: str) -> None:
    """Both ends; on a logarithmic scale above zero."""
    method = get_method(name)
    for key, field in method.Params.model_fields.items():
        tune = about(field).get("tune")
        if tune:
            method.Params(**{key: tune["low"]})
            method.Params(**{key: tune["high"]})
            assert not tune["log"] or tune["low"] > 0, f"{key}: a logarithmic range begins above 0"


METHOD_CHECKS: tuple[Check, ...] = (
    it_says_what_it_is,
    its_ranges_for_tuning_are_allowed_values,
    terms_and_gradients_are_finite,
    saturated_logits_stay_finite,
    gradients_reach_student_and_own_parts_never_the_teacher,
    every_term_matters,
    twenty_steps_lower_the_loss,
    equal_inputs_give_equal_terms,
    a_resumed_run_goes_on_bit_for_bit,
    what_is_deployed_is_the_plain_student_or_what_it_declares,
    two_classes_work_or_are_refused_in_words,
    image_sizes_work,
    nets_of_the_catalog_work,
    exits_predict_every_class,
    inspected_arrays_are_of_a_known_kind,
    looking_inside_changes_nothing,
    every_choice_works,
    mixed_labels_of_one_class_are_plain_labels,
    second_derivatives_are_finite,
    memory_grows_no_faster_than_the_batch,
    *STEP_CHECKS,
)


def _autocast(precision: str) -> contextlib.AbstractContextManager[Any]:
    dtype = PRECISIONS[precision]
    return contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)


def _gradients(trial: Trial) -> list[Tensor]:
    return [parameter.grad for parameter in trial.parameters() if parameter.grad is not None]


def _finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _step(trial: Trial, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss = total(trial.terms())
    loss.backward()
    optimizer.step()
    return loss.item()


def _saturated(network: Any, sign: float) -> Callable[[Tensor], Any]:
    def predict(x: Tensor) -> Any:
        outputs = network(x)
        # The value is replaced, the gradient passes as it is: a factor of 1e4 on it would be the check's own doing.
        extreme = outputs.logits.detach().sign() * sign * 1e4
        return outputs._replace(logits=outputs.logits + (extreme - outputs.logits).detach())

    return predict


def _saved_bytes(name: str, batch_size: int) -> int:
    """Bytes that autograd keeps of one step until its backward pass, weights aside; each memory counts once."""
    trial = trial_of(name, batch_size=batch_size, samples=512)
    known = {parameter.untyped_storage().data_ptr() for parameter in trial.parameters()}
    sizes: dict[int, int] = {}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in known:
            sizes[memory.data_ptr()] = memory.nbytes()
        kept.append(tensor.detach())  # a freed memory's place could be given out again
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trial.terms()
    return sum(sizes.values())
