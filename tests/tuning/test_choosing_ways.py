"""What is slow on this machine is never chosen; what a cache says is used only where it can be so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdengine.errors import DiskFull
from kdengine.machine import processor as machine
from kdengine.models import Backbone, Outputs
from kdengine.models.ways import DIRECT, OTHER_LAYOUT, OtherLayoutConv2d
from kdengine.tuning import cache as kept
from kdengine.tuning import convolutions
from kdengine.tuning.cache import open_times
from kdengine.tuning.convolutions import Choice, by_layer, choose_ways
from kdengine.tuning.layout import CHANNELS_LAST, CONTIGUOUS, choose_layout

SLOW_S = 0.02
"""Far more than a convolution of these tests takes."""


class Net(Backbone):
    """A stem and two wide convolutions of one kind."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        wide = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(2)]
        super().__init__(nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), *wide), "net", 16)
        self.fc = nn.Linear(64, 4)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    def forward(self, x: Tensor) -> Outputs:
        last = self.body(x)
        embedding = last.mean((2, 3))
        return Outputs(self.fc(embedding), embedding, (last,))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def slowed(call: Callable[..., Any]) -> Callable[..., Any]:
    """Computes for a while longer: sleeping takes no time of a thread."""

    def slow(*arguments: Any) -> Any:
        until = time.thread_time() + SLOW_S
        while time.thread_time() < until:
            pass
        return call(*arguments)

    return slow


def chosen(cache: Path, **options: Any) -> dict[str, Choice]:
    """By the way's layers: the stem's and that of the wide ones."""
    found = choose_ways(Net(), 32, cache, budget_s=60, **options)
    return {choice.layers[0]: choice for choice in found}


def make_tiles_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdengine.models import winograd

    monkeypatch.setattr(winograd, "by_tiles", slowed(winograd.by_tiles))


def make_direct_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "forward", slowed(nn.Conv2d.forward))


def make_layout_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OtherLayoutConv2d, "forward", slowed(OtherLayoutConv2d.forward))


def test_kinds_and_their_layers(tmp_path: Path) -> None:
    found = chosen(tmp_path)
    assert list(found) == ["body.1", "body.0"], "what takes most of the work comes first"
    wide, stem = found.values()
    assert wide.layers == ("body.1", "body.2") and stem.layers == ("body.0",)
    words = "convolution of 64 to 64 channels, on 16x16, channels_last, batches of 32, float32"
    assert wide.what == f"3x3 {words}"
    assert set(wide.times) >= {DIRECT, OTHER_LAYOUT} and len(wide.times) == 6 and min(wide.times.values()) > 0


def test_slow_tiles_are_never_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiles_slow(monkeypatch)
    assert all("tiles" not in choice.way for choice in chosen(tmp_path).values())


def test_a_slow_layout_is_never_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_layout_slow(monkeypatch)
    assert all(choice.way != OTHER_LAYOUT for choice in chosen(tmp_path).values())


def test_slow_direct_convolutions_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_direct_slow(monkeypatch)
    choices = chosen(tmp_path)
    assert all(choice.way != DIRECT for choice in choices.values())
    assert set(by_layer(choices.values())) == {"body.0", "body.1", "body.2"}
    make_tiles_slow(monkeypatch)
    assert all(choice.way == OTHER_LAYOUT for choice in chosen(tmp_path / "anew").values())


def test_what_is_exact_stays_where_little_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def times(calls: dict[str, Any], _: object) -> dict[str, float]:
        return dict.fromkeys(calls, 0.96) | {DIRECT: 1.0}

    monkeypatch.setattr(convolutions, "least_seconds", times)
    assert chosen(tmp_path)["body.1"].way == DIRECT


def test_a_budget_that_is_spent_leaves_the_rest_direct_for_this_once(tmp_path: Path) -> None:
    net = Net()
    assert by_layer(choose_ways(net, 32, tmp_path, budget_s=0)) == {}
    assert all(not choice.times for choice in choose_ways(net, 32, tmp_path, budget_s=0))
    assert all(choice.times for choice in choose_ways(net, 32, tmp_path, budget_s=60))


# the cache ------------------------------------------------------------------------------------------------------------


def measured_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Which candidates are measured in one choice."""
    asked: list[set[str]] = []
    before = convolutions.least_seconds

    def noted(calls: Any, budget: Any) -> Any:
        asked.append(set(calls))
        return before(calls, budget)

    with monkeypatch.context() as patch:
        patch.setattr(convolutions, "least_seconds", noted)
        chosen(cache)
    return asked


def file_of(cache: Path) -> Path:
    (path,) = (cache / "speed").glob("*.json")
    return path


def test_the_second_time_nothing_is_measured_but_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_direct_slow(monkeypatch)  # else, on a busy machine, what was chosen may not hold and all is measured again
    first = chosen(tmp_path)
    again = measured_again(tmp_path, monkeypatch)
    expected = [{DIRECT, choice.way} for choice in first.values() if choice.way != DIRECT]
    assert again == expected and len(expected) == 2
    name = file_of(tmp_path).name
    assert name == f"{machine.processor().slug}-1-threads.json"


def test_another_batch_or_precision_is_measured_by_itself(tmp_path: Path) -> None:
    net = Net()
    for batch, reduced in ((32, None), (64, None), (64, torch.bfloat16)):
        choose_ways(net, batch, tmp_path, reduced, budget_s=60)
    held = json.loads(file_of(tmp_path).read_text())["measured"]
    assert len(held) == 6 and sum("bfloat16" in what for what in held) == 2


def foreign(**other: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content | other


def times_of(value: Any) -> Callable[[dict[str, Any]], Any]:
    """Every time replaced."""
    return lambda content: (
        content | {"measured": {what: dict.fromkeys(times, value) for what, times in content["measured"].items()}}
    )


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another processor": foreign(processor="somebody-s-own"),
    "another torch": foreign(torch="1.0"),
    "other threads": foreign(threads=64),
    "another format": foreign(format=99),
    "more than is known": foreign(more=1),
    "a list": lambda content: [content],
    "text for a time": times_of("quick"),
    "no time": times_of(0.0),
    "a negative time": times_of(-1.0),
    "no number": times_of(float("nan")),
    "candidates missing": lambda content: content | {
        "measured": {what: {DIRECT: times[DIRECT]} for what, times in content["measured"].items()}
    },
    "an unknown candidate": lambda content: content | {
        "measured": {what: times | {"magic": 1e-9} for what, times in content["measured"].items()}
    },
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_a_foreign_or_spoilt_cache_is_not_used_and_mended(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(tmp_path)
    path = file_of(tmp_path)
    sound = json.loads(path.read_text())
    path.write_text(json.dumps(SPOILT[how](sound)))
    assert len([asked for asked in measured_again(tmp_path, monkeypatch) if len(asked) == 6]) == 2
    now = json.loads(path.read_text())
    assert {key: now[key] for key in ("processor", "torch", "threads", "format")} == {
        key: sound[key] for key in ("processor", "torch", "threads", "format")
    }
    assert {what: set(times) for what, times in now["measured"].items()} == {
        what: set(times) for what, times in sound["measured"].items()
    }


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null"])
def test_a_cache_that_is_no_json_is_not_used(content: bytes, tmp_path: Path) -> None:
    chosen(tmp_path)
    path = file_of(tmp_path)
    path.write_bytes(content)
    assert all(choice.times for choice in chosen(tmp_path).values())
    assert json.loads(path.read_text())["measured"]


def test_a_lie_that_looks_like_times_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiles_slow(monkeypatch)
    chosen(tmp_path)
    path = file_of(tmp_path)
    content = json.loads(path.read_text())
    for times in content["measured"].values():
        times["grouped tiles, 64"] = times[DIRECT] / 2
    path.write_text(json.dumps(content))
    assert all("tiles" not in choice.way for choice in chosen(tmp_path).values())
    mended = json.loads(path.read_text())["measured"]
    assert all(times["grouped tiles, 64"] > times[DIRECT] for times in mended.values())


def test_a_cache_that_cannot_be_written_costs_a_second_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("no space is left")

    monkeypatch.setattr("kdengine.workspace.files.write_json", full)
    assert all(choice.times for choice in chosen(tmp_path).values())
    assert caplog.text.count("is not kept") == 1 and "no space is left" in caplog.text


# two at once ----------------------------------------------------------------------------------------------------------


def test_who_comes_second_waits_and_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = chosen(tmp_path / "elsewhere")["body.1"].what
    make_direct_slow(monkeypatch)  # by oneself one would choose anything else
    found: list[Choice] = []
    with open_times(tmp_path) as known:
        second = threading.Thread(target=lambda: found.append(chosen(tmp_path)["body.1"]))
        second.start()
        time.sleep(0.3)
        assert second.is_alive() and not found
        names = ("batched tiles, 128", "grouped tiles, 64", "grouped tiles, 128", "grouped tiles, 256")
        known.put(what, {DIRECT: 1.0} | dict.fromkeys((OTHER_LAYOUT, *names), 2.0))
    second.join(60)
    assert found[0].way == DIRECT and found[0].times[DIRECT] == 1.0


def test_who_waits_too_long_measures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept, "WAIT_S", 0.05)
    with open_times(tmp_path):
        assert all(choice.times for choice in chosen(tmp_path).values())
    assert "not kept" in caplog.text and not list((tmp_path / "speed").glob("*.json"))


# the student's layout -------------------------------------------------------------------------------------------------


def trained() -> Net:
    return Net().requires_grad_(True)  # type: ignore[return-value]


@pytest.mark.parametrize("slow", [CHANNELS_LAST, CONTIGUOUS])
def test_a_slow_layout_of_the_student_is_never_chosen(
    slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, slower = nn.Conv2d.forward, slowed(nn.Conv2d.forward)

    def forward(module: nn.Conv2d, x: Tensor) -> Tensor:
        last = module.weight.is_contiguous(memory_format=torch.channels_last)
        return (slower if last == (slow == CHANNELS_LAST) else plain)(module, x)  # type: ignore[no-any-return]

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    layout, times = choose_layout(trained(), 32, tmp_path, budget_s=60)
    assert layout != slow and set(times) == {CHANNELS_LAST, CONTIGUOUS}


def test_choosing_leaves_the_student_and_the_random_state(tmp_path: Path) -> None:
    student, teacher = trained(), Net()
    student.body.append(nn.Dropout(0.5))  # type: ignore[operator, union-attr]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    state = torch.get_rng_state()
    choose_layout(student, 32, tmp_path, budget_s=60)
    choose_ways(teacher, 32, tmp_path, budget_s=60)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())
