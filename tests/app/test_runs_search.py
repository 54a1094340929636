"""The language of the search line: what each query finds among six runs, and what is said of those that are wrong."""

from __future__ import annotations

import pytest
from made_runs import make_run

from app.board import Board
from app.pages.runs.listing import Listing
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import annotate
from kdengine.workspace.states import State


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    workspace = Workspace(tmp_path_factory.mktemp("searched"))
    make_run(workspace, "big", [0.8, 0.95], test=0.94, student="resnet8x4")
    taught = {"teacher": "run:big", "status": {"teacher_run": "big"}}
    make_run(workspace, "a", [0.5, 0.9], test=0.896, method="kd", seed=3, title="gamma", **taught)
    make_run(workspace, "b", [0.7], method="dkd", seed=4, state=State.FAILED, **taught)
    make_run(workspace, "c", [0.2] * 40, test=0.2, method="tf_kd", title="two words", recipe={"epochs": 40})
    make_run(workspace, "d", method="kd", state=State.STOPPED, **taught)
    make_run(workspace, "e", [0.7], method="byot", title="kd in its name")
    annotate(workspace.run("a"), tags=["paper", "Best one"], notes="see the warm-up")
    annotate(workspace.run("e"), tags=["paperback"])
    return Listing(Board(workspace))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("method:kd", "ad"),
        ("method:*kd", ""),
        ("method:d*", "b"),
        ("kd", "abcde"),
        ("method:KD seed:3", "a"),
        ("-method:kd student:resnet8", "bce"),
        ("tag:paper", "a"),
        ("tag:paper*", "ae"),
        ('tag:"best one"', "a"),
        ('"two words"', "c"),
        ("name:name", "e"),
        ("warm-up", "a"),
        ("acc>0.7", ["big", "a"]),
        ("acc>=0.7", ["big", "a", "b", "e"]),
        ("acc > 70%", ["big", "a"]),
        ("acc<70", "c"),
        ("val=90%", "a"),
        ("test=89.6%", "a"),
        ("test:0.2", "c"),
        ("test!=0.2", ["big", "a"]),
        ("-acc>0.6", "cd"),
        ("seed=3", "a"),
        ("seed>=4", "b"),
        ("time>30min", "c"),
        ("time<=2min state:finished", ["big", "a", "e"]),
        ("state:failed", "b"),
        ("state!=finished", "bd"),
        ("teacher:resnet8x4", "abd"),
        ('teacher:"teacher resnet8x4" acc<0.8', "b"),
        ("group:teacher", ["big"]),
        ("id:bi", ["big"]),
        ("method:kd acc>0.99", ""),
    ],
)
def test_a_query_finds(listing: Listing, query: str, expected: str | list[str]) -> None:
    listing.look()
    found, problems = listing.search(query)
    assert problems == [] and found is not None
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("query", ["", "   "])
def test_an_empty_line_is_no_search(listing: Listing, query: str) -> None:
    assert listing.search(query) == (None, [])


@pytest.mark.parametrize(
    ("query", "said", "expected"),
    [
        ("methd:kd acc>0.7", ["did you mean method?"], ["big", "a"]),
        ("acc>much", ["'much'"], None),
        ("colour:red", ["no field 'colour'; there are name"], None),
        ("time>5% seed>3s", ["time is compared with '5%'", "seed is compared with '3s'"], None),
        ("method>3", ["method is no number"], None),
        ("tag:", ["names nothing"], None),
        ('method:dkd "open', ["quotation mark"], []),
    ],
)
def test_every_problem_is_said_and_the_rest_holds(
    listing: Listing, query: str, said: list[str], expected: list[str] | None
) -> None:
    listing.look()
    found, problems = listing.search(query)
    assert len(problems) == len(said) and all(part in problem for part, problem in zip(said, problems, strict=True))
    assert found == expected or sorted(found or []) == sorted(expected or [])
