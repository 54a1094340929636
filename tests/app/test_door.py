"""The port answers before there is a dashboard, and hands over to it without a word more."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support import PATIENCE_S

from app.server.door import Door
from app.server.security import HEADERS
from kdengine.errors import KdError


class House:
    """A small application behind a door, made when `ready` is set; remembers what its life was."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.life: list[str] = []

    def make(self) -> Starlette:
        assert self.ready.wait(PATIENCE_S)
        return Starlette(routes=[Route("/runs", self.runs)], lifespan=self.lifespan)

    async def runs(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"run {request.query_params['run']}")

    @asynccontextmanager
    async def lifespan(self, application: Starlette) -> AsyncIterator[None]:
        self.life.append("begins")
        yield
        self.life.append("ends")


def wait_for_the_house(client: TestClient) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.get("/runs?run=7").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.02)


def test_it_says_starting_and_then_opens_at_the_same_address() -> None:
    house = House()
    with TestClient(Door(house.make, lambda: None)) as client:
        early = client.get("/runs?run=7")
        assert early.status_code == 503 and early.headers["retry-after"] == "1"
        assert early.headers["cache-control"] == "no-store"
        assert '<meta http-equiv="refresh" content="1">' in early.text, "it loads the address again that was asked for"
        assert {name: early.headers[name] for name in HEADERS} == HEADERS
        assert client.post("/gradio_api/queue/join", json={}).status_code == 503
        house.ready.set()
        wait_for_the_house(client)
        assert client.get("/runs?run=7").text == "run 7"
        assert house.life == ["begins"]
    assert house.life == ["begins", "ends"]


def test_it_can_be_closed_before_it_opens() -> None:
    house = House()
    with TestClient(Door(house.make, lambda: None)) as client:
        assert client.get("/").status_code == 503
        house.ready.set()


def test_a_house_that_cannot_be_made_is_told() -> None:
    told = threading.Event()

    def make() -> Starlette:
        raise KdError("no supervisor")

    door = Door(make, told.set)
    with TestClient(door) as client:
        assert told.wait(PATIENCE_S)
        assert client.get("/").status_code == 503
    assert str(door.failure) == "no supervisor"
