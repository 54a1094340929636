"""The handlers of the Launch page, called without a browser: the experiment that its form holds."""

from __future__ import annotations

import argparse
import html
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from archives import as_zip, png, random_image
from processes import StandInWorker

from app import catalog
from app.pages.launch import handlers, teacher, upload
from app.pages.launch.card_handlers import CardHandlers
from app.pages.launch.form import NOTHING_FOUND, Form
from app.pages.launch.handlers import NO_COMMAND, Handlers
from app.pages.launch.parts import draw
from app.pages.launch.upload import UploadHandlers
from app.worker import Worker, Workers
from kdengine.commands import train
from kdengine.errors import BadInput, KdError, Problem
from kdengine.spec import ExperimentSpec
from kdengine.spec.named_recipes import RECIPES
from kdengine.workspace import Workspace

SKIP = gr.skip()
SESSION, OTHER = "one open page", "another"
FORECAST = {
    "student": {"parameters": 1e6, "macs": 1e8, "bytes": 4e6, "milliseconds": 2.0}, "teacher": None, "seconds": 50.0,
    "teacher_seconds": 0.0, "device": "abacus", "memory_bytes": 1e9, "images_per_s": 400.0, "replay_share": 0.0,
    "method_parameters": 0, "beside": "", "compiling": None,
}  # fmt: skip
PAYS = {"eager_s": 0.2, "compiled_s": 0.1, "start_s": 10.0, "steps": 900, "saved_s": 80.0, "on": False}


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Form:
    """As drawn."""
    form = Form(Workspace(tmp_path_factory.mktemp("launch") / "home"))
    with gr.Blocks():
        draw(form)
    return form


@pytest.fixture
def process() -> StandInWorker:
    return StandInWorker(check=None, forecast=FORECAST)


@pytest.fixture
def page(form: Form, process: StandInWorker, monkeypatch: pytest.MonkeyPatch) -> Handlers:
    monkeypatch.setattr(handlers, "SETTLE_S", 0.0)
    workers = argparse.Namespace(measuring=process, acting=process, background=process)
    return Handlers(form, cast(Workers, workers))


@pytest.fixture
def filled(form: Form) -> Callable[..., dict[Any, Any]]:
    """What the form holds, with changes by the names of pickers and the paths of shared settings."""

    def fill(found: Any = NOTHING_FOUND, **changes: Any) -> dict[Any, Any]:
        known = form.defaults() | {form.found: found, form.method: "dkd", form.student: "vgg8"}
        for name, value in changes.items():
            known[getattr(form, name, None) or form.component(name.replace("__", "."))] = value
        return known

    return fill


def by_shell(command: str) -> dict[str, Any]:
    """What the shown command makes, and the number of seeds."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    options = parser.parse_args(shlex.split(command)[2:])
    return ExperimentSpec.from_mapping(train.read_experiment(options)).flat() | {"seeds": options.seeds}


def marks(words: str) -> dict[str, str]:
    """Element id -> what the browser writes there."""
    found = re.search(r'data-marks="([^"]*)"', words)
    return json.loads(html.unescape(found[1])) if found else {}


# the whole experiment -------------------------------------------------------------------------------------------------


def test_command_and_yaml_are_the_experiment_of_the_form(page: Handlers, filled: Any) -> None:
    values = filled(recipe__epochs=9, seed=4, seeds=3)
    command, yaml, python, chips, words, launch, tune = page.summarize(values, SESSION)
    spec = page.form.spec(values)
    assert (spec.method.name, spec.student.name, spec.recipe.epochs, spec.seed) == ("dkd", "vgg8", 9, 4)
    assert by_shell(command) == spec.flat() | {"seeds": 3}
    assert ExperimentSpec.from_yaml(yaml) == spec and "seeds 4 to 6" in yaml
    assert (
        "'epochs': 9" in python
        and '<span>Epochs</span> <span translate="no">9</span>' in chips
        and 'data-field="field-recipe-epochs"' in chips
    )
    assert "alert" not in words and launch["value"] == "Launch 3 runs" and launch["interactive"] and tune["interactive"]
    assert page.summarize(filled(), SESSION)[5]["value"] == "Launch"


def test_what_is_wrong_stands_at_its_fields(page: Handlers, filled: Any) -> None:
    values = filled(recipe__batch_size=0, recipe__epochs=0)
    command, yaml, python, chips, words, launch, tune = page.summarize(values, SESSION)
    assert (
        command == yaml == python == NO_COMMAND
        and chips == ""
        and not launch["interactive"]
        and not tune["interactive"]
    )
    assert launch["value"] == "2 problems to fix"
    assert set(marks(words)) == {"field-recipe-batch_size", "field-recipe-epochs"}
    for seeds in (0, 21, None):
        words, launch = page.summarize(filled(seeds=seeds), SESSION)[4:6]
        assert set(marks(words)) == {"seeds"} and launch["value"] == "1 problem to fix"


def test_what_was_found_counts_for_the_very_experiment_that_it_was_about(page: Handlers, filled: Any) -> None:
    text = page.form.spec(filled()).to_yaml()
    found = {"yaml": text, "problems": [("data", "an image is broken")]}
    words, launch = page.summarize(filled(found=found), SESSION)[4:6]
    assert marks(words) == {"field-data": "an image is broken"} and not launch["interactive"]
    words, launch = page.summarize(filled(found=found, seed=9), SESSION)[4:6]
    assert marks(words) == {} and launch["interactive"], "the form has changed since"


def test_cost_is_that_of_all_seeds(page: Handlers, filled: Any, process: StandInWorker) -> None:
    cost, found, said, take = page.measure(filled(seeds=3), SESSION)
    assert "about 2 min 30 s" in cost and "for 3 runs, 50 s each" in cost and "abacus" in cost
    assert found == NOTHING_FOUND and said == "" and not take["visible"]
    text = page.form.spec(filled()).to_yaml()
    assert process.calls == [("check", text), ("forecast", text)]


def test_problems_that_only_the_check_finds_come_back(page: Handlers, filled: Any, process: StandInWorker) -> None:
    process.results["check"] = BadInput([Problem("student", "too deep"), Problem("data", "too small")])
    cost, found, *_ = page.measure(filled(), SESSION)
    assert cost == "" and found["yaml"] == page.form.spec(filled()).to_yaml()
    assert found["problems"] == [("student", "too deep"), ("data", "too small")]
    process.results |= {"check": None, "forecast": KdError("out of memory")}
    assert "No forecast: out of memory" in page.measure(filled(), SESSION)[0]
    assert page.measure(filled(recipe__epochs=0), SESSION)[:2] == ["", NOTHING_FOUND] and len(process.calls) == 3


def test_a_check_that_the_page_has_overtaken_says_nothing(page: Handlers, filled: Any, process: StandInWorker) -> None:
    page.summarize(filled(seed=1), SESSION)
    page.summarize(filled(seed=2), OTHER)
    assert page.measure(filled(seed=2), SESSION) == [SKIP] * 4 and process.calls == []
    assert "abacus" in page.measure(filled(seed=1), SESSION)[0], "each open page has its own"
    assert "abacus" in page.measure(filled(seed=2), OTHER)[0]


def test_what_compiling_gains(page: Handlers, filled: Any, process: StandInWorker) -> None:
    process.results["compiling"] = PAYS
    page.summarize(filled(), SESSION)
    (waiting, _), (said, take) = page.measure_compiling(filled(), SESSION)
    assert "Compiling and timing" in waiting and "2.00 times as fast" in said and take["visible"]
    assert page.compile_on() is True
    process.results["compiling"] = PAYS | {"saved_s": -5.0}
    assert not list(page.measure_compiling(filled(), SESSION))[-1][1]["visible"], "it would cost more than it gains"
    page.summarize(filled(seed=8), SESSION)
    assert list(page.measure_compiling(filled(), SESSION))[-1] == [SKIP] * 2, "that was another experiment"
    process.results["compiling"] = KdError("no compiler")
    assert list(page.measure_compiling(filled(), OTHER))[-1][0].count('role="alert"') == 1
    assert "alert" in next(iter(page.measure_compiling(filled(recipe__epochs=0), SESSION)))[0]


def test_consecutive_seeds_are_launched_once(page: Handlers, filled: Any, process: StandInWorker) -> None:
    process.results["launch"] = ["run-a", "run-b"]
    first, token, found = page.launch(filled(seed=5, seeds=2, token="form"))
    (task, specs, asked), *_ = process.calls
    assert task == "launch" and [ExperimentSpec.from_yaml(text).seed for text in specs] == [5, 6]
    assert first == "run-a" and token not in ("", "form") and found == NOTHING_FOUND
    page.launch(filled(seed=5, seeds=2, token="form"))
    page.launch(filled(seed=5, seeds=3, token="form"))
    assert process.calls[1][2] == asked != process.calls[2][2], "the same form is one launch, a changed one another"


def test_a_refused_launch_is_marked_at_the_fields(page: Handlers, filled: Any, process: StandInWorker) -> None:
    process.results["launch"] = BadInput([Problem("recipe.batch_size", "too many")])
    first, token, found = page.launch(filled())
    assert first == "" and token == SKIP and found["problems"] == [("recipe.batch_size", "too many")]
    assert set(marks(page.summarize(filled(found=found), SESSION)[4])) == {"field-recipe-batch_size"}
    assert page.launch(filled(recipe__epochs=0)) == ["", SKIP, NOTHING_FOUND] and len(process.calls) == 1


# the cards ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cards(form: Form, process: StandInWorker) -> CardHandlers:
    return CardHandlers(form, cast(Worker, process))


def shared(form: Form, updates: list[Any]) -> dict[str, Any]:
    """Path -> new value of the shared settings that change."""
    both = zip(form.shared, updates, strict=True)
    return {control.path: update for control, update in both if update != SKIP}


def shown(form: Form, kind: str, updates: list[Any]) -> list[str]:
    """The names whose own settings show."""
    names = [name for group, name in form.groups if group == kind]
    return [name for name, update in zip(names, updates, strict=True) if update["visible"]]


def test_a_method_brings_its_settings_and_whether_it_needs_a_teacher(cards: CardHandlers, form: Form) -> None:
    facts, box, page, chooser, teacher_facts, *groups = cards.choose_method("dkd", "resnet8x4")
    assert box["visible"] and "# Decoupled distillation" in page and "$$\nb = [p_y" in page and "```math" not in page
    assert "](at.md)" not in cards.choose_method("ama_self", "")[2], "a link to a file beside it"
    assert "decoupled" in facts.lower() and chooser["interactive"] and "Trained first" in teacher_facts
    assert shown(form, "method", groups) == ["dkd"]
    _, _, _, chooser, teacher_facts, *groups = cards.choose_method("byot", "resnet8x4")
    assert (
        not chooser["interactive"] and "needs no teacher" in teacher_facts and shown(form, "method", groups) == ["byot"]
    )
    facts, box, page = cards.choose_method("nobody", "")[:3]
    assert "Choose a method" in facts and not box["visible"] and page == ""


def test_network_and_teacher_are_described(cards: CardHandlers, form: Form) -> None:
    facts, *groups = cards.choose_student("vgg8")
    assert facts != cards.choose_student("resnet20")[0] and set(shown(form, "student", groups)) <= {"vgg8"}
    assert "Choose a teacher" in cards.choose_teacher("", "kd")
    assert "there is no run" in cards.choose_teacher("run:nobody", "kd")


def test_a_recipe_brings_its_numbers(cards: CardHandlers, form: Form) -> None:
    name = next(name for name in RECIPES if name != "quick")
    told, *updates = cards.choose_recipe(name, "vgg8")
    wanted = {f"recipe.{key}": value for key, value in RECIPES[name].for_student("vgg8").items()}
    changed = shared(form, updates)
    assert told["info"] == RECIPES[name].summary and changed["recipe.epochs"] == wanted["recipe.epochs"]
    assert set(changed) == {control.path for control in form.shared if control.path.startswith("recipe.")}
    assert cards.choose_recipe("nobody's", "vgg8") == [SKIP] * (1 + len(form.shared))


def test_data_bring_what_is_usual_for_them(cards: CardHandlers, form: Form, process: StandInWorker) -> None:
    assert shared(form, cards.data_defaults("cifar10")) == {"data.image_size": 32, "data.augmentation": "crop_flip"}
    assert shared(form, cards.data_defaults("digits"))["data.augmentation"] == "crop"
    assert shared(form, cards.data_defaults("nobody")) == {}
    process.results["samples"] = {"present": False, "summary": "Ten kinds.", "classes": 10}
    assert "Ten kinds. 10 classes." in cards.show_data("cifar10", 24.0)
    assert process.calls == [("samples", {"name": "cifar10", "image_size": 24})]
    assert cards.show_data("own:nobody", None).count('role="alert"') == 1
    (form.workspace.datasets / "own" / "mine").mkdir(parents=True)
    controls = form.own["data", "folder"]
    cards.show_data("own:mine", None, *("white" if each.path.endswith("transparent") else None for each in controls))
    assert process.calls[-1][1]["transparent"] == "white" and process.calls[-1][1]["path"].endswith("own/mine")
    choices = cards.offer_teachers("digits", None, "timm/resnet18")["choices"]
    assert choices[-1] == ("timm/resnet18", "timm/resnet18"), "what was chosen stays among them"


def test_an_upload_is_kept_checked_and_chosen(form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "POLL_S", 0.01)
    rng = np.random.default_rng(3)
    files = {f"{name}/{number}.png": random_image(rng, 70) for name in ("round", "square") for number in range(12)}
    contents = {name: png(image) for name, image in files.items()} | {"round/torn.png": b"no image"}
    archive = as_zip(tmp_path / "shapes.zip", contents | {"square/same.png": png(files["round/3.png"])})
    panel = UploadHandlers(form, CardHandlers(form, cast(Worker, StandInWorker())).data_defaults)
    *waiting, (chosen, said, leave_out, on_white, take_size, size, *updates) = panel.take(str(archive))
    assert waiting and all(one[0] == SKIP for one in waiting)
    assert chosen["value"] == "own:shapes.zip" and "data.image_size" in shared(form, updates)
    assert shared(form, updates)["recipe.batch_size"] == 4, "of 19 training images"
    assert "shapes.zip is stored" in said and "stand in more than one class" in said and "round/torn.png" in said
    assert not on_white["visible"], "nothing is transparent"
    assert leave_out["visible"] and leave_out["value"] == "Leave out 1 corrupt image"
    assert take_size["visible"] and (take_size["value"], size) == ("Use 64 px", 64)
    assert catalog.data_mapping(form.workspace, "own:shapes.zip")["name"] == "folder"
    archive.write_bytes(b"no archive")
    chosen, said, leave_out, on_white, take_size, _, *updates = list(panel.take(str(archive)))[-1]
    assert chosen == SKIP and said.count('role="alert"') == 1 and shared(form, updates) == {}
    assert not leave_out["visible"] and not on_white["visible"] and not take_size["visible"]
    assert next(iter(panel.take(None)))[1] == ""


# own teacher ----------------------------------------------------------------------------------------------------------


def test_own_weights_are_stored_checked_and_corrected(form: Form) -> None:
    process = StandInWorker(import_teacher={"name": "mine", "lines": ["kept"]},
                    check_teacher={"lines": ["right for 90 %"], "fixable": True})  # fmt: skip
    panel = teacher.OwnTeacherHandlers(form.workspace, cast(Worker, process))
    chooser, said, store, name = panel.import_weights("/w.st", "resnet8x4", " mine ", "a\nb", "", "", "digits", 24.0)
    (_, request), checked = process.calls
    assert request["name"] == "mine" and request["image_size"] == 24 and request["path"] == "/w.st"
    assert checked == ("check_teacher", "mine", {"name": "digits"}, False)
    assert chooser["value"] == catalog.imported_choice("mine") and store["visible"] and name == "mine"
    assert "kept" in said and "right for 90 %" in said
    *_, store, name = panel.store("mine", "digits")
    assert process.calls[-1] == ("check_teacher", "mine", {"name": "digits"}, True) and not store["visible"]
    process.results["check_teacher"] = KdError("not the classes of these data")
    chooser, said, store, _ = panel.import_weights(None, "timm/resnet18", "mine", "", "", "", "digits", None)
    assert "kept" in said and said.count('role="alert"') == 1 and not store["visible"]
    process.results["import_teacher"] = BadInput([Problem("name", "empty")])
    assert panel.import_weights(None, None, "", "", "", "", "digits", None)[::3] == [SKIP, ""]
