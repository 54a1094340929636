"""A plug-in written for release 0.1 works under its old names, and is told the new ones, where it stands."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import TinyNet
from torch import nn

from kdengine import methods
from kdengine.methods import Method, Needs, StepContext, Term
from kdengine.methods.sim_kd import ReusedClassifier
from kdengine.registry import METHODS
from kdengine.testing import trial_of
from kdengine.training.teacher import FrozenTeacher

NAME = "of_release_0_1"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    METHODS.names()
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    yield


def plug_in() -> type[Method]:
    """As its author wrote it: the hook by its old name, the class of the step's place from its old home."""

    class OfRelease01(Method):
        name = NAME
        title = "Of release 0.1"
        description = "Keeps a copy of the teacher's classifier."
        family = "logits"

        def __init__(self, params: Any, context: Any) -> None:
            super().__init__(params, context)
            self.copy = nn.Linear(context.teacher.embedding, context.classes).requires_grad_(False)

        @classmethod
        def requires(cls, params: Any) -> Needs:
            return Needs(teacher=("embedding", "classifier"), student=("logits",))

        def meet_teacher(self, teacher: Any) -> None:
            super().meet_teacher(teacher)
            self.copy.load_state_dict(teacher.classifier.state_dict())

        def forward(self, batch: Any, student: Any, teacher: Any, clock: Any) -> dict[str, Term]:
            return {"ce": Term(self.cross_entropy(student(batch.image).logits, batch.target), 1.0)}

    return OfRelease01


def test_the_old_hook_is_called_with_the_teacher_and_the_author_is_told_its_new_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"OfRelease01\.meet_teacher is now called copy_from_teacher") as told:
        methods.register(plug_in())
    assert told[0].filename == __file__, "at the line of the class"
    with pytest.warns(DeprecationWarning, match=r"Method\.meet_teacher is now called copy_from_teacher"):
        trial = trial_of(NAME)
    assert trial.teacher_net is not None
    assert torch.equal(trial.method.copy.weight, trial.teacher_net.classifier.weight)  # type: ignore[union-attr]


def test_an_old_hook_over_a_new_one_reaches_it_by_super() -> None:
    with pytest.warns(DeprecationWarning):

        class Rescaled(ReusedClassifier):
            def meet_teacher(self, teacher: Any) -> None:
                super().meet_teacher(teacher)
                with torch.no_grad():
                    self.classifier.weight.mul_(2)

    trial = trial_of("sim_kd")
    assert trial.teacher_net is not None
    method = Rescaled(trial.method.params, trial.method.context)
    with pytest.warns(DeprecationWarning):
        method.copy_from_teacher(trial.teacher_net)
    assert torch.equal(method.classifier.weight, 2 * trial.teacher_net.classifier.weight)


def test_who_calls_the_old_name_reaches_the_new_hook() -> None:
    trial = trial_of("sim_kd")
    other = TinyNet(5, 16, (7, 9, 12))
    with pytest.warns(DeprecationWarning):
        trial.method.meet_teacher(other)
    assert torch.equal(trial.method.classifier.weight, other.classifier.weight)  # type: ignore[union-attr]
    assert isinstance(trial.teacher, FrozenTeacher)


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [
        ("base", "Moment", "StepContext"),
        ("base", "StagePair", "StagePair"),
        ("base", "pair_stages", "pair_stages"),
        ("look_ahead", "hyper_gradient", "hyper_gradient"),
        ("memory", "check_memory", "check_memory"),
    ],
)
def test_an_old_place_gives_what_is_found_elsewhere_now(module: str, name: str, now: str) -> None:
    home = importlib.import_module(f"kdengine.methods.{module}")
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now kdengine\.methods\.{now}; write") as told:
        found = getattr(home, name)
    assert found is getattr(methods, now) and told[0].filename == __file__


def test_a_statement_of_release_0_1_still_imports() -> None:
    with pytest.warns(DeprecationWarning):
        from kdengine.methods.look_ahead import hyper_gradient  # type: ignore[import-not-found]

        from kdengine.methods.base import Moment  # type: ignore[attr-defined]
    assert Moment(3, 0.1) == StepContext(step=3, rate=0.1) and hyper_gradient is methods.hyper_gradient


def test_a_wrong_name_is_wrong_as_ever() -> None:
    with pytest.raises(ImportError, match="Momentum"):
        from kdengine.methods.base import Momentum  # type: ignore[attr-defined]  # noqa: F401


def test_nobody_who_writes_the_new_names_is_told_anything() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in methods.list_methods():
            trial_of(name)


def test_settings_are_found_where_a_plug_in_of_before_imports_them() -> None:
    sys.modules.pop("kdengine.fields", None)
    with pytest.warns(DeprecationWarning, match="from kdengine.methods import Settings, setting"):
        before = importlib.import_module("kdengine.fields")
    assert before.Settings is methods.Settings and before.setting is methods.setting
