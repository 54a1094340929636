"""Controls are drawn from settings and read back into the same spec."""

from __future__ import annotations

import gradio as gr
import pytest

from app import catalog, text
from app.forms import Control, controls_of, draw, gather
from kdengine.errors import BadInput
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec import DataSpec, ExperimentSpec, RecipeSpec, RuntimeSpec, merge
from kdengine.spec.fields import about
from kdengine.workspace import Workspace

SPEC = ExperimentSpec.from_mapping({"teacher": "resnet8x4", "method": "dkd"})
PARTS = {"recipe": RecipeSpec, "runtime": RuntimeSpec, "data": DataSpec}


def drawn(prefix: str) -> list[Control]:
    flat = SPEC.flat()
    with gr.Blocks():
        return [
            draw(path, info, flat[path])
            for path, info in controls_of(PARTS[prefix], prefix, ("params",))
            if path in flat
        ]


@pytest.mark.parametrize("prefix", PARTS)
def test_what_is_shown_reads_back_as_it_was(prefix: str) -> None:
    controls = drawn(prefix)
    flat = SPEC.flat()
    values = {control.component: control.to_shown(flat[control.path]) for control in controls}
    again = ExperimentSpec.from_mapping(merge(SPEC.model_dump(mode="json"), gather(controls, values)))
    assert again == SPEC


def test_lists_are_written_as_words() -> None:
    milestones = next(control for control in drawn("recipe") if control.path == "recipe.milestones")
    assert milestones.to_value("150, 180 210") == [150, 180, 210]
    assert milestones.to_shown((150, 180)) == "150, 180"
    assert milestones.to_value("") == []


def test_an_optional_number_may_be_left_empty() -> None:
    per_class = next(control for control in drawn("data") if control.path == "data.per_class")
    assert per_class.to_value("") is None and per_class.to_shown(None) == ""
    assert per_class.to_value("25") == 25 and per_class.to_shown(25) == "25"
    assert per_class.to_value("many") == "many", "what is no number is refused by the spec, in words"


@pytest.mark.parametrize("name", METHODS.names())
def test_every_setting_of_every_method_can_be_drawn_and_says_what_it_is(name: str) -> None:
    with gr.Blocks():
        for path, info in controls_of(METHODS.get(name).Params, "method"):
            control = draw(path, info)
            assert control.component.label and control.description
            assert about(info)["source"], f"{name}.{path} does not say where its default comes from"


def test_the_catalog_offers_everything_registered(workspace: Workspace) -> None:
    assert {value for _, value in catalog.datasets(workspace)} == set(DATASETS.names()) - {"folder"}
    assert {value for _, value in catalog.students()} == set(MODELS.names())
    assert {value for _, value in catalog.methods()} == set(METHODS.names())


def test_own_images_are_offered_by_name_and_nothing_else_is_reachable(workspace: Workspace) -> None:
    own = workspace.datasets / "own"
    (own / "flowers").mkdir(parents=True)
    (own / "birds.zip").write_bytes(b"")
    (own / "notes.txt").write_text("no archive")
    choices = [value for _, value in catalog.datasets(workspace)]
    assert "own:flowers" in choices and "own:birds.zip" in choices and "own:notes.txt" not in choices
    assert catalog.data_mapping(workspace, "own:flowers") == {"name": "folder", "path": str(own / "flowers")}
    for made_up in ("own:../../etc", "own:flowers/..", "path:/etc", "no-such-set"):
        with pytest.raises(BadInput):
            catalog.data_mapping(workspace, made_up)
    assert catalog.data_choice(workspace, {"name": "folder", "path": str(own / "flowers")}) == "own:flowers"


@pytest.mark.parametrize(
    ("given", "shown"), [(0.4, "0 s"), (70.2, "1 min 10 s"), (3720, "1 h 02 min"), (90000, "1 d 1 h"), (None, "–")]
)
def test_durations(given: float | None, shown: str) -> None:
    assert text.duration(given) == shown


def test_numbers() -> None:
    assert text.percent(0.98123) == "98.1 %" and text.percent(None) == "–"
    assert text.count(1_528_106) == "1.5 M" and text.count(950) == "950"
    assert text.size(6_200_000) == "6.2 MB" and text.size(2.5e9) == "2.5 GB"
    assert text.times(14.2) == "14x" and text.times(1.64) == "1.6x"
