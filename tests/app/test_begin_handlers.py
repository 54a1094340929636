"""The handlers of the Begin page and the experiments that are ready, without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from processes import StandInWorker
from support import tiny_spec

from app import ready
from app.board import Board
from app.pages.begin import cards
from app.pages.begin.handlers import KEPT_S, Handlers
from app.worker import Worker
from kdengine.errors import BadInput, KdError
from kdengine.jobs import JobStore
from kdengine.models import build_model
from kdengine.registry import METHODS
from kdengine.runner import create
from kdengine.workspace import Workspace


def page(home: Path, clock: Any = lambda: 0.0, **results: Any) -> tuple[Handlers, StandInWorker]:
    process = StandInWorker(**results)
    return Handlers(Board(Workspace(home)), cast(Worker, process), clock), process


def test_last_runs_come_first_and_lead_to_their_pages(tmp_path: Path) -> None:
    handlers, _ = page(tmp_path)
    assert handlers.last_used() == ""
    store = JobStore(handlers.board.workspace)
    for number in range(cards.MAX_LAST + 2):
        create(tiny_spec(seed=number, title=f"run <{number}>"), handlers.board.workspace, f"r{number}")
        store.adopt(handlers.board.workspace.run(f"r{number}"), now=4e9 + number)
    words = handlers.last_used()
    shown = re.findall(r'href="/runs\?run=(r\d)"', words)
    assert len(shown) == cards.MAX_LAST and len(set(shown)) == cards.MAX_LAST
    assert f'href="/launch?clone={shown[0]}"' in words and "&lt;" in words and "run <" not in words


def test_costs_are_measured_once_however_many_pages_ask(tmp_path: Path) -> None:
    now = [0.0]
    handlers, process = page(tmp_path, lambda: now[0], forecast={"seconds": 50.0, "teacher_seconds": 30.0})
    first = list(handlers.estimate())
    assert len(first) == len(ready.ALL) == len(process.calls)
    assert first[-1].count("about 1 min 20 s on this machine") == len(ready.ALL) and first[0].count("about") == 1
    assert list(handlers.estimate())[-1] == first[-1] and len(process.calls) == len(ready.ALL)
    now[0] = KEPT_S + 1
    assert len(list(handlers.estimate())) == len(ready.ALL) and len(process.calls) == 2 * len(ready.ALL)


def test_what_cannot_be_measured_says_nothing(tmp_path: Path) -> None:
    handlers, _ = page(tmp_path, forecast=KdError("no memory"))
    words = list(handlers.estimate())[-1]
    assert words.count("data-of") == len(ready.ALL) and "about" not in words and "no memory" not in words


def test_every_card_has_its_figure_and_address() -> None:
    words = cards.ways()
    for name in ready.ALL:
        assert f'href="/launch?ready={name}"' in words and f'data-minutes-of="{name}"' in words
    assert words.count("<svg") == len(ready.ALL) + 3
    for each in ready.PAPERS:
        assert each.paper.split(",")[0] in words and METHODS.get(each.name).paper == each.paper
    with pytest.raises(BadInput, match="there are: demo, dcad"):
        ready.find("nobody")


def test_the_student_of_the_demo_is_several_times_smaller_than_its_teacher() -> None:
    def parameters(name: str) -> int:
        return sum(weights.numel() for weights in build_model(name, 10, 16).parameters())

    assert parameters(ready.TEACHER) > 4 * parameters(ready.STUDENT)
