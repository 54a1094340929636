"""What an address asks of the Launch page: a run to clone, changes of it; without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
import pytest
from starlette.datastructures import QueryParams
from support import tiny_spec

from app import ready
from app.pages.launch.arrival import Arrival
from app.pages.launch.form import Form
from app.pages.launch.parts import draw
from kdengine.jobs.remedies import Remedy, address
from kdengine.runner import create
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace

SPEC = tiny_spec(method="tf_kd", student="vgg8", recipe={"batch_size": 64, "lr": 0.03})


class Page:
    """The form as drawn, with the run "failed" in its workspace."""

    def __init__(self, home: Path) -> None:
        self.workspace = Workspace(home)
        create(SPEC, self.workspace, "failed")
        self.form = Form(self.workspace)
        with gr.Blocks():
            draw(self.form)
        self.arrival = Arrival(self.form)

    def opened(self, query: str) -> list[bool]:
        """Which of the panels "My images" and "Own teacher" open."""
        return [update.get("open", False) for update in self.arrival.arrive(QueryParams(query))[2:4]]

    def open(self, query: str) -> tuple[str, ExperimentSpec | None]:
        """What it says on arrival, and the experiment it is filled with; None where it stays as it is."""
        _, said, _, _, *updates = self.arrival.arrive(QueryParams(query))
        components = [*self.form.pickers(), *(control.component for control in self.form.controls())]
        filled: dict[Any, Any] = {
            component: update["value"]
            for component, update in zip(components, updates, strict=True)
            if isinstance(update, dict) and "value" in update
        }
        return said, self.form.spec(self.form.defaults() | filled) if filled else None


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(tmp_path_factory.mktemp("home"))


def asked(*changes: str) -> str:
    return urlencode([("clone", "failed"), *(("set", change) for change in changes)])


def test_a_clone_comes_with_the_changes_of_the_address(page: Page) -> None:
    said, spec = page.open(asked("recipe.batch_size=32", "runtime.precision=fp32"))
    assert spec is not None
    assert spec.flat() == SPEC.flat() | {"recipe.batch_size": 32, "runtime.precision": "fp32"}
    assert "filled from run iled and recipe.batch_size=32, runtime.precision=fp32" in said and "alert" not in said


def test_the_address_of_a_remedy_is_understood(page: Page) -> None:
    remedy: Remedy = {"label": "l", "note": "n", "set": {"recipe.batch_size": 16, "recipe.lr": 0.015}}
    _, spec = page.open(address("failed", remedy).removeprefix("/launch?"))
    assert spec is not None and (spec.recipe.batch_size, spec.recipe.lr) == (16, 0.015)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("recipe.bach_size=32", "did you mean &#x27;batch_size&#x27;?"),
        ("recipe.batch_size=many", "recipe.batch_size"),
        ("recipe.batch_size=0", "greater than or equal to 2"),
        ("recipe.batch_size", "expected path=value"),
        ("recipe=", "recipe"),
        ("recipe.batch_size=[", "cannot read the value"),
        ("method.name=nothing", "method.name"),
        (f"{'a.' * 500}a=1", "may have at most 200 characters"),
        ("<script>alert(1)</script>=1", "&lt;script&gt;"),
    ],
)
def test_a_change_that_makes_no_experiment_is_said_and_left_out(page: Page, change: str, word: str) -> None:
    said, spec = page.open(asked("recipe.lr=0.01", change))
    assert said.count('role="alert"') == 1 and word in said and "<script" not in said
    assert "without the changes in the address" in said and "filled from run iled;" in said
    assert spec is not None and spec.flat() == SPEC.flat(), "neither the wrong change nor the right one beside it"


def test_changes_of_nothing_change_nothing(page: Page) -> None:
    said, spec = page.open("set=recipe.batch_size%3D32")
    assert spec is None and said.count('role="alert"') == 1 and "/launch?clone=RUN" in said
    said, spec = page.open("clone=nobody&set=recipe.batch_size%3D32")
    assert spec is None and said.count('role="alert"') == 1 and "there is no run" in said


def test_without_changes_a_clone_is_the_run(page: Page) -> None:
    said, spec = page.open("clone=failed")
    assert spec is not None and spec.flat() == SPEC.flat() and "filled from run iled;" in said
    assert page.open("") == ("", None)


@pytest.mark.parametrize("each", ready.ALL.values(), ids=lambda each: each.name)
def test_a_ready_experiment_fills_the_form(page: Page, each: ready.Ready) -> None:
    said, spec = page.open(f"ready={each.name}")
    assert spec == each.spec and f"the ready experiment {each.title}" in said and "cannot show" not in said


def test_an_address_opens_the_panel_that_it_names(page: Page) -> None:
    assert [page.opened(query) for query in ("", "open=own-data", "open=own-teacher", "open=nothing")] == [
        [False, False], [True, False], [False, True], [False, False],
    ]  # fmt: skip
    said, spec = page.open("ready=nobody")
    assert spec is None and said.count('role="alert"') == 1 and "there are: demo" in said
