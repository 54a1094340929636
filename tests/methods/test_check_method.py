"""`check_method` finds what a method does wrong, and names all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdengine.methods import Method, Needs, Settings, Term, setting
from kdengine.registry import METHODS, UnknownName
from kdengine.testing import METHOD_CHECKS, check_method

NAME = "under_test"


class Sound(Method):
    """L = CE + weight KL, as simple as can be."""

    name = NAME
    title = "Under test"
    description = "A student imitates its teacher."
    paper = "none: a test"
    family = "logits"

    class Params(Settings):
        weight: float = setting(
            1.0,
            title="Weight",
            description="Of the teacher.",
            source="our choice",
            ge=0,
            le=10,
            tune=(0.1, 5),
            log=True,
        )

    @classmethod
    def requires(cls, params: Any) -> Needs:
        return Needs(teacher=("logits",), batch_relations="")

    def forward(self, batch: Any, student: Any, teacher: Any, clock: Any) -> dict[str, Term]:
        logits, guide = student(batch.image).logits.float(), teacher(batch.image).logits.float()
        gap = F.kl_div(logits.log_softmax(1), guide.log_softmax(1), reduction="batchmean", log_target=True)
        return {"ce": Term(self.cross_entropy(logits, batch.target), 1.0), "kd": Term(gap, self.params.weight)}


class NoSource(Sound):
    class Params(Settings):
        weight: float = setting(1.0, title="Weight", description="Of the teacher.")


class BadRange(Sound):
    class Params(Settings):
        weight: float = setting(
            1.0,
            title="Weight",
            description="Of the teacher.",
            source="our choice",
            ge=0,
            le=10,
            tune=(0.1, 50),
            log=True,
        )


class Vector(Sound):
    def forward(self, *what: Any) -> dict[str, Term]:
        return {key: Term(term.raw.expand(3), term.weight) for key, term in super().forward(*what).items()}


class Overflows(Sound):
    def forward(self, batch: Any, student: Any, teacher: Any, clock: Any) -> dict[str, Term]:
        logits, guide = student(batch.image).logits.float(), teacher(batch.image).logits.float()
        return {
            "ce": Term(self.cross_entropy(logits, batch.target), 1.0),
            "exp": Term((logits - guide).exp().mean(), 1.0),
        }


class Unreached(Sound):
    def __init__(self, params: Any, context: Any) -> None:
        super().__init__(params, context)
        self.idle = nn.Linear(3, 3)


class TrainsTheTeacher(Sound):
    def forward(self, batch: Any, student: Any, teacher: Any, clock: Any) -> dict[str, Term]:
        with torch.no_grad():
            for parameter in getattr(teacher, "backbone", nn.Identity()).parameters():
                parameter.add_(0.01)
        return super().forward(batch, student, teacher, clock)


class Idle(Sound):
    def forward(self, *what: Any) -> dict[str, Term]:
        terms = super().forward(*what)
        return terms | {"idle": Term(terms["ce"].raw.detach(), 1.0)}


class Climbs(Sound):
    def forward(self, *what: Any) -> dict[str, Term]:
        terms = super().forward(*what)
        return {key: Term(2 * term.raw.detach() - term.raw, term.weight) for key, term in terms.items()}


class DrawsElsewhere(Sound):
    def forward(self, *what: Any) -> dict[str, Term]:
        import random

        terms = super().forward(*what)
        return terms | {"kd": Term(terms["kd"].raw * (1 + random.random()), 1.0)}


class Forgets(Sound):
    """What it remembers is in no state."""

    def __init__(self, params: Any, context: Any) -> None:
        super().__init__(params, context)
        self.steps = 0

    def forward(self, *what: Any) -> dict[str, Term]:
        self.steps += 1
        terms = super().forward(*what)
        return terms | {"kd": Term(terms["kd"].raw, float(self.steps))}


class ShipsItself(Sound):
    def deployable(self, student: Any) -> Any:
        student.body["extra"] = nn.Linear(2, 2)
        return student


class TenClasses(Sound):
    def __init__(self, params: Any, context: Any) -> None:
        if context.classes < 3:
            raise ValueError("no")
        super().__init__(params, context)


class Looks(Sound):
    def inspect(self, student: Any, teacher: Any) -> Any:
        torch.rand(1)
        return {"map": student.logits}


class Square(Sound):
    def forward(self, batch: Any, student: Any, teacher: Any, clock: Any) -> dict[str, Term]:
        terms = super().forward(batch, student, teacher, clock)
        embedding = student(batch.image).embedding.float()
        apart = (embedding[:, None] - embedding[None]).square()
        return terms | {"all pairs": Term((apart.sum(2) + 1).sqrt().mean(), 1e-3)}


class OnTheHost(Sound):
    """Makes a tensor without a word on where."""

    def forward(self, *what: Any) -> dict[str, Term]:
        terms = super().forward(*what)
        return terms | {"kd": Term((terms["kd"].raw * torch.ones(3)).mean(), 1.0)}


class Waits(Sound):
    """Takes a number off the device in each step."""

    def forward(self, *what: Any) -> dict[str, Term]:
        terms = super().forward(*what)
        return terms | {"kd": Term(terms["kd"].raw, min(1.0, terms["kd"].raw.item()))}


class BakedIn(Sound):
    """Counts in Python, which a graph does not replay."""

    def __init__(self, params: Any, context: Any) -> None:
        super().__init__(params, context)
        self.steps = 0

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, steps: int) -> None:
        self.steps = steps

    def forward(self, *what: Any) -> dict[str, Term]:
        self.steps += 1
        terms = super().forward(*what)
        return terms | {"kd": Term(terms["kd"].raw, 1 / self.steps)}


class Coupled(Sound):
    """Says that nothing relates the images of a batch, and centres by their mean."""

    def forward(self, batch: Any, student: Any, teacher: Any, clock: Any) -> dict[str, Term]:
        terms = super().forward(batch, student, teacher, clock)
        logits = student(batch.image).logits.float()
        return terms | {"spread": Term((logits - logits.mean(0)).square().mean(), 0.1)}


BROKEN = {
    NoSource: "it_says_what_it_is",
    BadRange: "its_ranges_for_tuning_are_allowed_values",
    Vector: "terms_and_gradients_are_finite",
    Overflows: "saturated_logits_stay_finite",
    Unreached: "gradients_reach_student_and_own_parts_never_the_teacher",
    TrainsTheTeacher: "gradients_reach_student_and_own_parts_never_the_teacher",
    Idle: "every_term_matters",
    Climbs: "twenty_steps_lower_the_loss",
    DrawsElsewhere: "equal_inputs_give_equal_terms",
    Forgets: "a_resumed_run_goes_on_bit_for_bit",
    ShipsItself: "what_is_deployed_is_the_plain_student_or_what_it_declares",
    TenClasses: "two_classes_work_or_are_refused_in_words",
    Looks: "looking_inside_changes_nothing",
    Square: "memory_grows_no_faster_than_the_batch",
    OnTheHost: "a_gpu_computes_what_the_cpu_computes",
    Waits: "a_step_can_be_recorded_for_a_gpu",
    BakedIn: "a_step_can_be_recorded_for_a_gpu",
    Coupled: "a_batch_in_parts_teaches_what_the_whole_does",
}


@pytest.fixture
def registered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    METHODS.names()
    monkeypatch.setitem(METHODS._entries, NAME, request.param)
    yield NAME


@pytest.mark.parametrize("registered", [Sound], indirect=True)
def test_a_sound_method_passes(registered: str) -> None:
    check_method(registered)


@pytest.mark.parametrize(
    ("registered", "promise"), BROKEN.items(), indirect=["registered"], ids=[broken.__name__ for broken in BROKEN]
)
def test_what_is_wrong_is_named(registered: str, promise: str) -> None:
    with pytest.raises(AssertionError) as told:
        check_method(registered)
    said = str(told.value)
    assert f"- {promise}: " in said and f"of {len(METHOD_CHECKS)} promises" in said


@pytest.mark.parametrize(
    ("registered", "words"),
    [
        (OnTheHost, "two devices, cuda:0 and cpu"),
        (Waits, r"_local_scalar_dense, at test_check_method\.py:\d+"),
        (BakedIn, r"the terms \[.*'kd'\] differ.*capturable"),
        (Coupled, "the term 'spread' is .* of a batch and .* of its 2 parts.*batch_relations"),
    ],
    indirect=["registered"],
    ids=["OnTheHost", "Waits", "BakedIn", "Coupled"],
)
def test_the_author_is_told_what_and_where(registered: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_method(registered)


@pytest.mark.parametrize("registered", [Vector], indirect=True)
def test_all_that_is_wrong_is_named_at_once(registered: str) -> None:
    with pytest.raises(AssertionError, match="shape") as told:
        check_method(registered)
    assert str(told.value).count("\n- ") >= 3


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="under_tset"):
        check_method("under_tset")
