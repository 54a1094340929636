"""The handlers of the Runs page, called without a browser: always about the chosen run, never the newest."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import yaml
from finished_comparison import finish
from made_runs import make_run
from support import tiny_spec

from app.board import Board
from app.export_panel import ExportHandlers
from app.pages.runs import notes, queue
from app.pages.runs.handlers import Handlers
from app.pages.runs.listing import Listing
from app.pages.runs.one import BUTTONS
from app.worker import Worker
from kdengine.jobs import JobLabels, JobStore, stop_supervisor
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.workspace import Workspace
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import State

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("downloads")]

THERE = (*BUTTONS, "export", "exits", "body")
NOTED = ("name", "tags", "notes")
SELECTED = ("at", "chosen", "known", "state", "health", "refused", "really", *THERE, *NOTED, "drawn")
LOOKED_AT = ("known", "table", "live", "said", "state", "health", *THERE, *NOTED, "drawn", "curves", "busy", "system",
             "log", "command", "spec")  # fmt: skip
PLAIN = (0.0, False, "")
"""Curves as they are, no search."""
SKIP = gr.skip()


def selected(values: list[Any]) -> dict[str, Any]:
    return dict(zip(SELECTED, values, strict=True))


def refreshed(values: list[Any]) -> dict[str, Any]:
    return dict(zip(LOOKED_AT, values, strict=True))


def visible(values: dict[str, Any]) -> set[str]:
    return {name for name in THERE if values[name].get("visible")}


def test_the_address_names_the_run(trained: Any) -> None:
    handlers = Handlers(trained.board)
    assert handlers.arrive({"run": trained.taught, "q": "acc>0.1"}) == (trained.taught, "acc>0.1")
    assert handlers.arrive({}) == (trained.newest, ""), "the newest, where none is named"
    assert selected(handlers.select("", 1.0, {}, 0.0))["chosen"] == trained.newest, "so does the way back"


def test_a_run_that_trains_is_shown_before_a_newer_one(workspace: Workspace) -> None:
    assert Handlers(Board(workspace)).arrive({}) == ("", "")
    for age, (run_id, state) in enumerate({"old": State.RUNNING, "new": State.STOPPED}.items()):
        identity = {"process": process_identity(home=workspace.root)}
        make_run(workspace, run_id, [0.5], state=state, created=1000.0 + age, status=identity)
    JobStore(workspace).submit("data: {name: digits}\n", run_id="next", command="", labels=JobLabels(name="next"))
    assert Handlers(Board(workspace)).arrive({}) == ("old", "")
    JobStore(workspace).change("old", {State.RUNNING}, state=State.STOPPED)
    assert Handlers(Board(workspace)).arrive({}) == ("new", "")


def test_a_click_shows_the_state_of_that_run_and_what_can_be_done_with_it(trained: Any) -> None:
    handlers = Handlers(trained.board)
    first = selected(handlers.select(trained.taught, 20.0, {}, 10.0))
    assert (first["chosen"], first["at"]) == (trained.taught, 20.0)
    assert "gamma" in first["state"] and f"/runs?run={trained.teacher}" in first["state"]
    assert visible(first) == {"clone", "inspect", "demo", "delete", "export", "body"}
    then = selected(handlers.select(trained.teacher, 30.0, first["known"], 20.0))
    assert ">teacher resnet8x4</h2>" in then["state"] and ">gamma</h2>" not in then["state"]
    assert f'teacher of <a href="/runs?run={trained.taught}">gamma</a>' in then["state"]
    assert all(then[name] == SKIP for name in THERE), "the same buttons, not sent again"
    gone = selected(handlers.select("nobody", 40.0, then["known"], 30.0))
    assert "There is no run nobody" in gone["state"] and visible(gone) == set()


def test_a_run_that_came_since_the_last_look_is_shown_under_its_own_name(workspace: Workspace) -> None:
    handlers = Handlers(Board(workspace))
    assert handlers.arrive({}) == ("", ""), "the page was open"
    make_run(workspace, "new", [0.5], title="dash: byot, seed 1")
    workspace.run("new").update_status(comparison="dash")
    shown = selected(handlers.select("new", 1.0, {}, 0.0))["state"]
    assert ">byot</h2>" in shown and "/compare?name=dash" in shown


def test_a_click_that_a_later_one_overtook_changes_nothing(trained: Any) -> None:
    values = Handlers(trained.board).select(trained.taught, 10.0, {}, 20.0)
    assert values == [SKIP] * len(SELECTED)


def test_what_was_begun_for_another_run_is_not_shown_over_the_one_that_was_clicked(trained: Any) -> None:
    handlers, visit = Handlers(trained.board), dict[str, str]()
    first = handlers.refresh(trained.teacher, "raw", *PLAIN, {}, visit)
    assert refreshed(first)["curves"] != SKIP, "nothing was clicked yet"
    handlers.select(trained.taught, 20.0, first[0], 10.0, visit)
    handlers.select(trained.newest, 10.0, first[0], 20.0, visit)
    assert visit == {"run": trained.taught}, "a click that was overtaken chooses nothing"
    assert handlers.refresh(trained.teacher, "raw", *PLAIN, {}, visit) == [SKIP] * len(LOOKED_AT)
    assert handlers.draw_again(trained.teacher, "raw", 0.0, False, {}, visit) == [SKIP, SKIP]
    assert handlers.follow(trained.taught, "raw", *PLAIN, {}, visit)[0] != SKIP
    assert handlers.draw_again(trained.taught, "raw", 0.0, False, {}, visit)[0] != SKIP


def test_a_look_shows_log_settings_and_curves_of_the_chosen_run(trained: Any) -> None:
    handlers = Handlers(trained.board)
    seen = refreshed(handlers.refresh(trained.taught, "raw", *PLAIN, {}))
    assert all(run in seen["table"] for run in (trained.teacher, trained.taught, trained.newest))
    assert yaml.safe_load(seen["spec"])["method"]["temperature"] == 3.5 and "--method kd" in seen["command"]
    assert "what its process said" in seen["log"]
    assert {"student", "teacher", "ce"} <= {trace.name for trace in seen["curves"].data}
    assert trained.taught in seen["curves"].to_json() and seen["said"].count('role="alert"') == 1, "no supervisor"
    assert handlers.refresh(trained.taught, "raw", *PLAIN, seen["known"]) == [SKIP] * len(LOOKED_AT)
    other = refreshed(handlers.refresh(trained.teacher, "raw", *PLAIN, seen["known"]))
    assert other["table"] == SKIP and "resnet8x4" in other["spec"], "only what differs between the two"
    assert "Nothing yet" in other["log"]


def test_the_curves_are_drawn_another_way(trained: Any) -> None:
    handlers = Handlers(trained.board)
    known = handlers.refresh(trained.taught, "weighted", *PLAIN, {})[0]
    ways = {"raw": ("raw", 0.0, False), "smooth": ("weighted", 0.9, False), "log": ("weighted", 0.0, True)}
    plain = handlers.draw_again(trained.taught, "weighted", 0.0, False, known)
    assert plain[0] == known
    drawn = {plain[1].to_json()}
    for way in ways.values():
        now, figure = handlers.draw_again(trained.taught, *way, known)
        assert {key for key in now if now[key] != known[key]} == {"curves"}
        assert refreshed(handlers.refresh(trained.taught, *way, "", now))["curves"] == SKIP, "shown already"
        drawn.add(figure.to_json())
    assert len(drawn) == 4
    assert handlers.draw_again("nobody", "raw", 0.0, False, known) == [SKIP, SKIP]


def test_a_search_sends_the_runs_that_it_finds_and_says_what_is_wrong(trained: Any) -> None:
    handlers = Handlers(trained.board)
    first = refreshed(handlers.refresh(trained.taught, "raw", *PLAIN, {}))
    assert json.loads(first["live"])["found"] is None
    query = "student:vgg8 methd:kd"
    seen = refreshed(handlers.refresh(trained.taught, "raw", 0.0, False, query, first["known"]))
    assert json.loads(seen["live"])["found"] == [trained.newest] and seen["table"] == SKIP
    assert "did you mean method?" in seen["said"]
    assert all(seen[name] == SKIP for name in ("state", "curves", "log", "name"))


def test_what_was_written_about_a_run_is_shown_with_it_and_never_over_what_is_being_written(trained: Any) -> None:
    handlers, listing = Handlers(trained.board), Listing(trained.board)
    known = handlers.refresh(trained.taught, "raw", *PLAIN, {})[0]
    panel = notes.NotesHandlers(listing)
    try:
        said, tags = panel.save(trained.teacher, "Big one", "paper, #paper, x", "slow")
        assert "Saved" in said and tags == "paper, x"
        seen = refreshed(handlers.refresh(trained.taught, "raw", *PLAIN, known))
        assert "Big one" in seen["table"] and [seen[each] for each in NOTED] == [SKIP] * 3
        other = selected(handlers.select(trained.teacher, 1.0, known, 0.0))
        assert [other[each] for each in NOTED] == ["Big one", "paper, x", "slow"]
        assert "Big one" in selected(handlers.select(trained.taught, 1.0, {}, 0.0))["state"], "its teacher's name"
        said, tags = panel.save(trained.teacher, "x" * 200, "paper", "")
        assert said.count('role="alert"') == 1 and "200 characters" in said and tags == SKIP
    finally:
        trained.workspace.run(trained.teacher).annotations_file.unlink()
    assert panel.save("nobody", "a", "", "")[0].count('role="alert"') == 1


def test_what_differs_from_another_run_is_told(trained: Any) -> None:
    panel = notes.NotesHandlers(Listing(trained.board))
    choice, table = panel.offer(trained.taught, None)
    assert {run_id for _, run_id in choice["choices"]} == {trained.teacher, trained.newest}
    assert choice["value"] == trained.teacher, "the next older one, not the newest"
    assert "method.temperature" in table and "3.5" in table and "resnet8x4" in table and "recipe.lr" not in table
    assert "vgg8" in panel.compare(trained.taught, trained.newest)
    assert panel.compare(trained.taught, "nobody").count('role="alert"') == 1
    assert panel.offer("nobody", None)[0]["value"] is None


def test_the_whole_log_is_handed_out(trained: Any) -> None:
    handlers = Handlers(trained.board)
    path, said = handlers.hand_out_log(trained.taught)
    assert Path(path).read_text() == "what its process said\n" and said == ""
    assert trained.workspace.root not in Path(path).parents, "the workspace itself is never served"
    for silent in (trained.teacher, "nobody"):
        path, said = handlers.hand_out_log(silent)
        assert path is None and said.count('role="alert"') == 1


# what changes something -----------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(workspace: Workspace) -> Iterator[Workspace]:
    """Two runs in the queue, behind all that is there."""
    store = JobStore(workspace)
    for run_id in ("first", "second"):
        store.submit("data: {name: digits}\n", run_id=run_id, command="kd train", labels=JobLabels(name=run_id))
    yield workspace
    stop_supervisor(workspace)


def queued(workspace: Workspace) -> list[str]:
    return [job.id for job in JobStore(workspace).jobs((State.QUEUED,))]


def test_a_button_asks_for_what_it_says(waiting: Workspace) -> None:
    handlers = Handlers(Board(waiting))
    assert queued(waiting) == ["first", "second"]
    assert handlers.send_request("up", "second") == "" and queued(waiting) == ["second", "first"]
    assert handlers.send_request("stop", "second") == ""
    assert JobStore(waiting).get("second").state is State.STOPPED and queued(waiting) == ["first"]
    assert handlers.send_request("resume", "first").count('role="alert"') == 1, "it has not ended"
    assert handlers.send_request("stop", "nobody").count('role="alert"') == 1


def test_deleting_says_who_was_taught_and_deletes_that_run(workspace: Workspace) -> None:
    store = JobStore(workspace)
    for seed, run_id in enumerate(("teacher", "student")):
        run = finish(workspace, tiny_spec(seed=seed, title="beta" if seed else ""), 91.0, run_id)
        run.update_status(**({"teacher_run": "teacher"} if run_id == "student" else {}))
        store.adopt(run)
    handlers = Handlers(Board(workspace))
    said, box = handlers.ask_before_deleting("teacher")
    assert "One run uses it as the teacher: beta" in said and box["visible"]
    assert handlers.ask_before_deleting("student")[0] == ""
    visit = {"run": "student"}
    chosen, said, box = handlers.delete("student", visit)
    assert handlers.refresh(chosen, "raw", *PLAIN, {}, visit)[0] != SKIP, "the page lives on without a run"
    assert (chosen, said, box["visible"]) == ("", "", False)
    assert [job.id for job in store.jobs()] == ["teacher"] and not workspace.run("student").path.exists()
    chosen, said, _ = handlers.delete("nobody")
    assert chosen == "nobody" and said.count('role="alert"') == 1


def test_how_many_runs_share_a_gpu(workspace: Workspace) -> None:
    handlers = queue.QueueHandlers(workspace)
    assert handlers.arrive()[0] == SKIP, "an empty field is left alone: somebody may be typing"
    assert "3 runs per GPU" in handlers.keep(3.0) and jobs_per_gpu(workspace) == 3
    assert handlers.arrive()[0] == 3 and "3 runs per GPU now" in handlers.arrive()[1]
    for wrong in (2.5, 99, -1):
        assert handlers.keep(wrong).count('role="alert"') == 1 and jobs_per_gpu(workspace) == 3
    assert "One run per GPU" in handlers.keep(None) and jobs_per_gpu(workspace) is None


# export ---------------------------------------------------------------------------------------------------------------


def test_the_files_of_the_chosen_run_are_packed(trained: Any, worker: Worker) -> None:
    handlers = ExportHandlers(worker)
    began, (said, archive) = handlers.make(trained.taught, "safetensors", True, False)
    assert "Writing the files" in began[0] and not began[1]["visible"]
    assert archive["visible"] and Path(archive["value"]).name == f"{trained.taught}-safetensors.zip"
    names = [Path(name).name for name in zipfile.ZipFile(archive["value"]).namelist()]
    assert "README.md" in names and any(name.endswith(".safetensors") for name in names)
    assert not any(name.endswith(".onnx") for name in names) and "kd-table" in said
    *_, (said, archive) = handlers.make("nobody", "safetensors", False, False)
    assert said.count('role="alert"') == 1 and not archive["visible"]


def test_eight_bits_are_a_question_of_onnx_alone(worker: Worker) -> None:
    handlers = ExportHandlers(worker)
    assert handlers.choose_form("onnx")["visible"] and not handlers.choose_form("safetensors")["visible"]
    assert handlers.forget() == ["", gr.update(visible=False), False]
