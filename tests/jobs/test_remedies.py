"""What is offered for a run that ran out of memory: values reckoned by hand, and nothing that would not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdengine.jobs.remedies import Changes, Remedy, Room, address, command, for_teacher_too, offered, remedies, stored

GiB = 1 << 30
SPEC: dict[str, Any] = {
    "recipe": {"batch_size": 64, "lr": 0.05, "optimizer": "sgd"},
    "runtime": {"workers": None, "precision": "fp32"},
}


def changes(found: list[Remedy]) -> list[Changes]:
    return [each["set"] for each in found]


def spec_with(**recipe: Any) -> dict[str, Any]:
    return SPEC | {"recipe": SPEC["recipe"] | recipe}


def linear(fixed: float, image: float, free: float) -> Room:
    """A card of 16 GiB; needed are ``fixed`` + ``image`` for each image at a time, half of that in bf16."""

    def needs(wanted: Changes) -> int:
        each = image / 2 if wanted.get("runtime.precision") == "bf16" else image
        at_a_time = wanted.get("recipe.batch_size", 64) // wanted.get("recipe.accumulate", 1)
        return round((fixed + each * at_a_time) * GiB)

    return Room(round(free * GiB), 16 * GiB, needs)


def test_without_a_measurement_nothing_is_said_of_sizes() -> None:
    found = remedies("oom_gpu", SPEC, precisions=["bf16"], allowed=lambda _: True)
    assert changes(found) == [{"recipe.accumulate": 2}, {"runtime.precision": "bf16"}, {"recipe.batch_size": 32}]
    assert found[2]["label"] == "half the batch, 32 for 64"
    assert "learning rate stays 0.05 for 2 times as many steps" in found[2]["note"] and "0.025" in found[2]["note"]
    assert not any("iB" in each["note"] for each in found)


def test_with_one_only_what_fits_is_offered_and_its_size_told() -> None:
    """Of 4 + b/4 GiB: 20 for 64 images, 12 for 32, 8 for 16; bf16 takes 12. Free are 8.5."""
    found = remedies("oom_gpu", SPEC, precisions=["bf16"], allowed=lambda _: True, room=linear(4, 0.25, 8.5))
    assert changes(found) == [{"recipe.accumulate": 4}, {"recipe.batch_size": 16}]
    assert found[1]["label"] == "a quarter of the batch, 16 for 64"
    assert all("about 8.0 GiB of 16.0 GiB, 8.5 GiB of them to be had" in each["note"] for each in found)
    assert "4 times as many steps" in found[1]["note"] and "0.0125" in found[1]["note"]
    roomy = remedies("oom_gpu", SPEC, precisions=["bf16"], allowed=lambda _: True, room=linear(4, 0.25, 12))
    assert changes(roomy) == [{"recipe.accumulate": 2}, {"runtime.precision": "bf16"}, {"recipe.batch_size": 32}]


def test_where_nothing_fits_nothing_is_offered() -> None:
    assert remedies("oom_gpu", SPEC, precisions=["bf16"], allowed=lambda _: True, room=linear(9, 0.25, 8.5)) == []


def test_parts_of_a_batch_only_where_somebody_can_tell_that_the_method_allows_them() -> None:
    assert changes(remedies("oom_gpu", SPEC)) == [{"recipe.batch_size": 32}]
    refused = remedies("oom_gpu", SPEC, allowed=lambda wanted: "recipe.accumulate" not in wanted)
    assert changes(refused) == [{"recipe.batch_size": 32}]
    again = remedies("oom_gpu", spec_with(accumulate=2), allowed=lambda _: True)
    assert changes(again)[0] == {"recipe.accumulate": 4}


@pytest.mark.parametrize(("batch", "smaller"), [(64, [32]), (30, [14]), (5, [2]), (4, [2]), (3, []), (2, [])])
def test_half_a_batch_stays_even(batch: int, smaller: list[int]) -> None:
    assert [each["recipe.batch_size"] for each in changes(remedies("oom_gpu", spec_with(batch_size=batch)))] == smaller


def test_of_another_optimiser_no_rate_is_proposed() -> None:
    (found,) = remedies("oom_gpu", spec_with(optimizer="adamw"))
    assert "its meaning changes." in found["note"] and "0.025" not in found["note"]


@pytest.mark.parametrize(
    ("workers", "device", "offers"),
    [(4, "cpu", True), (None, "cuda:0", True), (None, "cpu", False), (0, "cuda:0", False)],
)
def test_a_machine_without_memory_is_offered_fewer_readers_and_a_smaller_batch(
    workers: int | None, device: str, offers: bool
) -> None:
    found = changes(remedies("oom_host", SPEC | {"runtime": {"workers": workers}}, device=device))
    assert found == [*([{"runtime.workers": 0}] if offers else []), {"recipe.batch_size": 32}]


@pytest.mark.parametrize("reason", ["nan_loss", "killed", "unknown"])
def test_other_failures_have_none(reason: str) -> None:
    assert remedies(reason, SPEC) == []


@pytest.mark.parametrize(
    "spec", [{}, {"recipe": None}, {"recipe": {"batch_size": "many"}}, {"recipe": [], "runtime": 1}]
)
def test_a_damaged_experiment_is_offered_nothing(spec: dict[str, Any]) -> None:
    assert remedies("oom_gpu", spec) == [] and remedies("oom_host", spec, device="cuda") == []


GOOD: Remedy = {"label": "half the batch", "note": "n", "set": {"recipe.batch_size": 32, "runtime.precision": "bf16"}}


@pytest.mark.parametrize(
    "held",
    [
        None,
        {},
        "half",
        [1],
        [{"label": "x"}],
        [{**GOOD, "set": {}}],
        [{**GOOD, "set": {"a": []}}],
        [{**GOOD, "note": 1}],
    ],
)
def test_what_a_status_holds_in_their_place_is_passed_over(held: object) -> None:
    assert stored({"remedies": held}) == []
    assert stored({}) == []


def test_they_are_those_of_the_failure_that_stands() -> None:
    assert offered({"reason": "oom_gpu", "remedies": [GOOD, 7]}) == [GOOD]
    assert offered({"reason": "nan_loss", "remedies": [GOOD]}) == offered({"remedies": [GOOD]}) == []


def test_each_is_an_address_and_a_command() -> None:
    assert address("r 1", GOOD) == "/launch?clone=r+1&set=recipe.batch_size%3D32&set=runtime.precision%3Dbf16"
    assert command(Path("/a b/spec.yaml"), GOOD) == (
        "kd train --spec '/a b/spec.yaml' --set recipe.batch_size=32 --set runtime.precision=bf16"
    )


def test_what_helps_a_teacher_is_set_for_both() -> None:
    (both,) = for_teacher_too([{**GOOD, "set": {"recipe.batch_size": 32}}])
    assert both["set"] == {"recipe.batch_size": 32, "teacher.spec.recipe.batch_size": 32}
    assert both["label"] == GOOD["label"]
