"""What Gradio alone knows of a visit reaches handlers as plain values, by wrappers that Gradio fills in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import gradio as gr
from gradio.helpers import special_args
from starlette.datastructures import QueryParams

from app.events import Query, of_address, of_session


def visit(session: str | None, query: str = "") -> gr.Request:
    request = gr.Request(session_hash=session)
    object.__setattr__(request, "kwargs", {"query_params": QueryParams(query), "session_hash": session})
    return request


class Page:
    """Handlers as a page has them."""

    def arrive(self, query: Query) -> list[str]:
        return [query.get("run", "nobody"), query.get("with", "alone")]

    def tell(self, values: dict[str, int], session: str) -> str:
        return f"{values} for {session!r}"

    def measure(self, values: dict[str, int], session: str) -> Iterator[str]:
        yield "…"
        yield self.tell(values, session)


def test_an_address_is_what_it_asks() -> None:
    arrive = of_address(Page().arrive)
    assert arrive(visit("s", "run=7&with=8")) == ["7", "8"] and arrive(visit("s")) == ["nobody", "alone"]


def test_an_open_page_is_its_id() -> None:
    tell, measure = of_session(Page().tell), of_session(Page().measure)
    assert tell({"a": 1}, visit("mine")) == "{'a': 1} for 'mine'" and tell({}, visit(None)) == "{} for ''"
    assert inspect.isgeneratorfunction(measure) and not inspect.isgeneratorfunction(tell)
    assert list(measure({"a": 2}, visit("other"))) == ["…", "{'a': 2} for 'other'"]
    assert tell.__qualname__ == "Page.tell", "the tests of the pages name handlers so"


def test_gradio_fills_the_request_in() -> None:
    request = visit("mine", "run=7")
    filled, *_ = special_args(of_session(Page().tell), [{"a": 3}], request)
    assert filled == [{"a": 3}, request]
    filled, *_ = special_args(of_address(Page().arrive), [], request)
    assert filled == [request]
