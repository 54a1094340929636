"""The bar of every page, and what its server says: the machine, and where earlier addresses lead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support import tiny_spec

from app import frame
from app.server.earlier_addresses import EarlierAddresses
from app.server.machine import KEPT_S, PATH, Machine, responding
from kdengine.jobs import JobStore
from kdengine.jobs.job import JobLabels
from kdengine.machine.nvml import Gpu, Inventory
from kdengine.workspace import Workspace


@pytest.mark.parametrize("page", frame.PAGES, ids=lambda page: page.name)
def test_the_bar_leads_everywhere_and_marks_where_one_is(page: frame.Page) -> None:
    words = frame.header(page.path)
    assert re.findall(r'<a href="/(\w*)"', words) == [each.path for each in frame.PAGES]
    assert re.findall(r'aria-current="page">(\w+)<', words) == [page.name]
    assert all(line.split("&")[0] in words for line in page.help)


class Cards:
    """GPUs of which the first is 81 % busy, the second says nothing of it, and the third cannot be used."""

    def __init__(self, count: int) -> None:
        self.count = count

    def inventory(self) -> Inventory:
        gpus = (
            Gpu(0, "a", free=70 << 30, total=80 << 30),
            Gpu(1, "b", free=None, total=None),
            Gpu(2, "c", trouble="it has fallen off the bus"),
        )
        return Inventory(gpus[: self.count])

    def handle(self, uuid: str) -> str:
        return uuid

    def ask(self, question: str, handle: str) -> Any:
        return type("Rates", (), {"gpu": 81})() if handle == "a" else None


def machine(home: Path, gpus: int, clock: Any = None) -> Machine:
    return Machine(Workspace(home), Cards(gpus), clock or (lambda: 0.0))  # type: ignore[arg-type]


def test_the_machine_is_what_its_gpus_say(tmp_path: Path) -> None:
    assert [part["text"] for part in machine(tmp_path, 1).parts()] == ["idle", "GPU 81 % 10.0 GB"]
    assert [part["text"] for part in machine(tmp_path, 3).parts()] == ["idle", "GPU 0 81 % 10.0 GB", "GPU 1"]
    assert [part["kind"] for part in machine(tmp_path, 0).parts()] == ["idle", "cpu"]


def test_what_waits_is_counted_and_looked_at_once_in_a_while(tmp_path: Path) -> None:
    now = [0.0]
    watched = machine(tmp_path, 1, lambda: now[0])
    assert watched.parts()[0]["text"] == "idle"
    store = JobStore(Workspace(tmp_path))
    for number in range(2):
        spec = tiny_spec(seed=number)
        store.submit(spec.to_yaml(), run_id=f"r{number}", command="kd train", labels=JobLabels("a run"))
    assert watched.parts()[0]["text"] == "idle", "as a moment ago"
    now[0] = KEPT_S
    assert watched.parts()[0] == {"text": "2 waiting", "kind": "waiting"}
    client = TestClient(Starlette(routes=[Route(PATH, responding(watched))]))
    assert client.get(PATH).json() == {"parts": watched.parts()}


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("/?clone=a%20b&set=recipe.lr%3D0.1", "/launch?clone=a%20b&set=recipe.lr%3D0.1"),
        ("/?study=s&trial=3", "/launch?study=s&trial=3"),
        ("/", None),
        ("/?run=7", None),
        ("/runs?clone=a", None),
    ],
)
def test_addresses_of_launch_when_it_was_the_first_page_lead_there(address: str, leads_to: str | None) -> None:
    async def here(request: Any) -> PlainTextResponse:
        return PlainTextResponse("here")

    client = TestClient(EarlierAddresses(Starlette(routes=[Route("/{path:path}", here)])), follow_redirects=False)  # type: ignore[arg-type]
    response = client.get(address)
    assert response.headers.get("location") == leads_to and response.status_code == (307 if leads_to else 200)
