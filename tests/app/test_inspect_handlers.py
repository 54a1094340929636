"""The handlers of the Inspect page, called without a browser: the run, view and epoch that were selected."""

from __future__ import annotations

import re
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app.pages.inspect import save
from app.pages.inspect.display import MAX_PLOTS, SHOWN
from app.pages.inspect.handlers import Handlers
from app.pages.inspect.selection import BY_CLASS, RECORDED, UPLOADED, Selection
from app.worker import Worker
from kdengine.figures.seen import DIFFERENCE, OWN, SHARED, SIDE_BY_SIDE
from kdengine.inspection import recordings as store
from kdengine.inspection.looking import look
from kdengine.workspace.rundir import short_id

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("downloads")]


@pytest.fixture
def handlers(trained: Any, worker: Worker) -> Handlers:
    return Handlers(trained.board, worker)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", said.append)
    return said


def selection(trained: Any, **changes: Any) -> Selection:
    first = Selection(
        run=trained.taught, other="", what="attention", epoch=2, best=False, source=RECORDED, classes=None, count=16,
        files=None, stage=None, arrangement=SIDE_BY_SIDE, scale=SHARED, graph=None, threshold=0.25,
    )  # fmt: skip
    return replace(first, **changes)


def show(handlers: Handlers, offer: dict[str, Any], selection: Selection) -> tuple[str, str, int, list[Any]]:
    """Words, tiles, the number of plots that show, and the options."""
    values = handlers.show(offer, *astuple(selection))
    boxes = values[2 : 2 + 3 * MAX_PLOTS : 3]
    return values[0], values[1], sum(box["visible"] for box in boxes), values[-8:]


def colours(tiles: str) -> list[str]:
    """The maps that are drawn, one after the other."""
    return re.findall(r'class="kd-map" src="([^"]+)"', tiles)


def row_of(tiles: str, number: int) -> str:
    return tiles.split('class="kd-tile-row"')[number + 1]


def test_the_address_names_runs_view_and_epoch(handlers: Handlers, trained: Any) -> None:
    views = [name for _, name in handlers.worker.call("what_to_inspect", trained.taught)["views"]]
    query = {"run": trained.taught, "with": trained.teacher, "what": views[-1], "epoch": "1"}
    missing, run, other, offer, group, what, epoch, best, classes = handlers.arrive(query)
    assert (run["value"], other["value"], what["value"]) == (trained.taught, trained.teacher, views[-1])
    assert (epoch["value"], best["value"], missing) == (1, False, "")
    assert group["value"] == "training" and views[-1] == "gradients", "its group is open"
    assert epoch["maximum"] == 2 and len(classes["choices"]) == 10 and offer["epochs"] == [0, 1, 2]
    assert handlers.arrive({"run": trained.taught, "epoch": "best"})[7]["value"] is True


def test_without_a_name_the_newest_is_shown_and_an_unknown_one_is_said(handlers: Handlers, trained: Any) -> None:
    assert handlers.arrive({})[1]["value"] == trained.newest
    missing, run, other, offer, *_ = handlers.arrive({"run": "nobody", "with": trained.teacher})
    assert missing.count('role="alert"') == 1 and "nobody" in missing
    assert run["value"] is None and other["value"] == trained.teacher and offer == {}, "no other in its place"


def test_what_there_is_of_a_run(handlers: Handlers, trained: Any, warned: list[str]) -> None:
    offer, _, what, epoch, best, _ = handlers.describe(trained.taught, "no such view", 77, False)
    assert what["value"] == offer["views"][0][1] and epoch["value"] == 2, "the first view, the last epoch"
    assert epoch["interactive"] and best == gr.update(value=False, interactive=True)
    offer, _, what, epoch, best, _ = handlers.describe(trained.newest, "cka", 1, True)
    assert offer["epochs"] == [2] and epoch["value"] == 2, "its weights at the end are all there is"
    assert what["value"] == "cka" and best["value"] is True, "what was selected stays where it is there"
    assert handlers.describe(None, None, 0, False)[0] == {} and warned == []
    assert handlers.describe("nobody", None, 0, False)[0] == {} and len(warned) == 1


def test_views_stand_in_groups_and_a_group_opens_with_its_first(handlers: Handlers, trained: Any) -> None:
    offer = handlers.worker.call("what_to_inspect", trained.taught)
    assert list(offer["groups"]) == ["maps", "relations", "predictions", "embedding", "training"]
    assert sorted(name for names in offer["groups"].values() for name in names) == sorted(
        name for _, name in offer["views"]
    )
    chosen = astuple(selection(trained))
    update, *shown = handlers.choose_group(offer, "relations", *chosen)
    assert update["value"] == "graph" and [name for _, name in update["choices"]] == ["graph", "classes", "cka"]
    assert shown[:2] == handlers.show(offer, *astuple(selection(trained, what="graph")))[:2], "its first is shown"
    nothing = [gr.skip()] * (1 + SHOWN)
    assert handlers.choose_group({}, "relations", *chosen) == handlers.choose_group(offer, "none", *chosen) == nothing


def test_a_view_of_one_run_and_of_two(handlers: Handlers, trained: Any) -> None:
    offer = handlers.worker.call("what_to_inspect", trained.taught)
    said, maps, plots, options = show(handlers, offer, selection(trained))
    assert 'id="inspect-sentence"' in said and colours(maps) and plots == 0
    assert [option["visible"] for option in options] == [False] * 5 + [True] * 3, "number, size and fading of tiles"
    assert colours(show(handlers, offer, selection(trained, epoch=1))[1]) != colours(maps), "another epoch, other maps"
    beside = selection(trained, other=trained.newest, epoch=1)
    said, both, _, options = show(handlers, offer, beside)
    assert [option["visible"] for option in options[1:3]] == [True, True] and 'class="kd-pair"' in both
    assert "The second run has nothing of epoch 1: showing its epoch 2." in said
    assert both.count('data-values="') > maps.count('data-values="')
    said, apart, _, options = show(handlers, offer, replace(beside, arrangement=DIFFERENCE))
    assert "the first run minus the second" in said and colours(apart) != colours(both)
    assert options[1]["visible"] and not options[2]["visible"], "a difference has a scale of its own"


def test_two_runs_share_a_scale_unless_each_is_to_have_its_own(handlers: Handlers, trained: Any) -> None:
    offer = handlers.worker.call("what_to_inspect", trained.taught)
    alone = colours(show(handlers, offer, selection(trained))[1])
    beside = selection(trained, other=trained.teacher)
    shared, own = (colours(show(handlers, offer, replace(beside, scale=scale))[1]) for scale in (SHARED, OWN))
    assert own[: len(alone)] == alone and shared[: len(alone)] != alone


def test_every_image_says_class_prediction_confidence_and_whether_it_is_right(handlers: Handlers, trained: Any) -> None:
    offer = handlers.worker.call("what_to_inspect", trained.taught)
    stored = store.read(trained.workspace.run(trained.taught), 1, "predictions")
    images = store.read_images(trained.workspace.run(trained.taught))
    assert images is not None
    tiles = show(handlers, offer, selection(trained, epoch=1))[1]
    states = set()
    for number in range(16):
        row = row_of(tiles, number)
        truth, predicted = int(images.labels[number]), int(stored["student"][number])
        state = "right" if truth == predicted else "wrong"
        confidence = 100 * float(stored["student_confidence"][number])
        assert f"student: {predicted} {confidence:.1f} %, {state}" in row and f'<b title="{truth}">' in row
        assert f'class="kd-tile kd-image {state}"' in row
        states.add(state)
    assert states == {"right", "wrong"}, "a test of both"
    mine = show(handlers, offer, selection(trained, what="predictions", epoch=1, count=5))[1]
    assert mine.count('class="kd-tile-card"') == 5, "as many as are wanted"


def test_what_an_earlier_version_did_not_record_is_computed(
    handlers: Handlers, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained.workspace.run(trained.taught)
    read = store.read
    monkeypatch.setattr(store, "read", lambda *asked: {} if asked[2] == "predictions" else read(*asked))
    last = look(trained.workspace, run, "attention", 2)
    assert np.array_equal(last.predictions["student"], read(run, 2, "predictions")["student"][:16])
    assert look(trained.workspace, run, "attention", 1).predictions == {}, "no weights of that epoch: nobody knows"


def test_figures_go_into_slots(handlers: Handlers, trained: Any) -> None:
    offer = handlers.worker.call("what_to_inspect", trained.taught)
    drawn = {view: show(handlers, offer, selection(trained, what=view))[2] for _, view in offer["views"]}
    assert (drawn["attention"], drawn["calibration"], drawn["classes"]) == (0, 1, 3)
    assert drawn["predictions"] == 0
    assert max(drawn.values()) <= MAX_PLOTS
    *_, graph, threshold, count, size, fade = show(handlers, offer, selection(trained, what="graph"))[3]
    assert threshold["visible"] and not any(each["visible"] for each in (count, size, fade))
    assert graph["value"] == "embedding"


def test_an_epoch_that_was_not_kept_is_not_shown_as_if_it_were(handlers: Handlers, trained: Any) -> None:
    offer = handlers.worker.call("what_to_inspect", trained.taught)
    said = show(handlers, offer, selection(trained, source=BY_CLASS, classes=["3", "8"], count=4, epoch=1))[0]
    assert "those of epoch 1 were not kept" in said and "showing" in said


def test_nothing_is_selected_yet(handlers: Handlers, trained: Any) -> None:
    assert handlers.show({}, *astuple(selection(trained))) == [gr.skip()] * SHOWN, (
        "the run's views are still being read"
    )
    assert "Choose a run" in handlers.show({}, *astuple(selection(trained, run=None)))[1]
    offer = {"recorded": [], "weights": [], "epochs": []}
    assert handlers.show(offer, *astuple(selection(trained, run="nobody")))[0].count('role="alert"') == 1


def test_each_source_of_images_has_its_controls(handlers: Handlers) -> None:
    def there(source: str) -> list[bool]:
        return [update["visible"] for update in handlers.choose_source(source)]

    assert there(RECORDED) == [False, False]
    assert there(BY_CLASS) == [True, False] and there(UPLOADED) == [False, True]


def test_the_epochs_play_in_a_circle(handlers: Handlers) -> None:
    offer = {"epochs": [0, 5, 9]}
    assert [handlers.advance(offer, epoch) for epoch in (0, 3, 5, 9)] == [5, 5, 9, 0]
    assert handlers.advance({}, 4) == handlers.advance({"epochs": []}, 4) == 4
    assert handlers.play(False) == (gr.update(active=True), True, "Pause")
    assert handlers.play(True) == (gr.update(active=False), False, "Play")


def test_what_is_shown_is_taken_away(trained: Any, worker: Worker, warned: list[str]) -> None:
    handlers, offer = save.SaveHandlers(worker), worker.call("what_to_inspect", trained.taught)
    path = handlers.write("npz", offer, *astuple(selection(trained, epoch=1)))
    assert path is not None and Path(path).name == "inspect-attention.npz"
    arrays, later = np.load(path), np.load(handlers.write("npz", offer, *astuple(selection(trained))) or "")
    assert set(arrays) == set(later) and any(not np.array_equal(arrays[name], later[name]) for name in arrays)
    page = handlers.write("html", offer, *astuple(selection(trained)))
    assert page is not None and "<svg" in Path(page).read_text() and short_id(trained.taught) in Path(page).read_text()
    assert handlers.write("npz", {}, *astuple(selection(trained))) is None and warned == []
    assert handlers.write("npz", offer, *astuple(selection(trained, run="nobody"))) is None and len(warned) == 1
