"""What a run is known by stays what it is: fingerprints of earlier versions, and settings that come later."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from kdengine import ExperimentSpec
from kdengine.registry import DATASETS, METHODS, MODELS, Registry
from kdengine.spec import DataSpec, RecipeSpec
from kdengine.spec.fields import neutral_values, setting

TABLE = json.loads((Path(__file__).parent / "data" / "fingerprints.json").read_text())
ENTRIES = [
    *(("data", DATASETS, name) for name in DATASETS.names()),
    *(("student", MODELS, name) for name in (*MODELS.names(), "timm/resnet10t")),
    *(("method", METHODS, name) for name in METHODS.names()),
]
LATER = {"title": "Later", "description": "Came later.", "neutral": 0.5}


def later(settings: type[pydantic.BaseModel], default: float = 0.5) -> type[pydantic.BaseModel]:
    """Those settings, and one that came later."""
    return pydantic.create_model(settings.__name__, __base__=settings, later=(float, setting(default, **LATER)))  # type: ignore[call-overload, no-any-return]


def gains(registry: Registry[Any], name: str, default: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the entry of that name gain a setting."""
    entry = registry.get(name)
    Params = later(entry.Params, default)
    if dataclasses.is_dataclass(entry):
        gained = dataclasses.replace(entry, Params=Params)  # type: ignore[type-var]
    else:
        gained = type("Gained", (entry if isinstance(entry, type) else type(entry),), {"Params": Params})
        gained = gained if isinstance(entry, type) else gained()
    monkeypatch.setitem(registry._entries, name, gained)


def using(part: str, name: str, **more: Any) -> dict[str, Any]:
    """A short experiment that uses that entry."""
    method = name if part == "method" else "kd"
    entry = METHODS.get(method)
    taught = entry.requires(entry.Params()).teacher
    path = {"path": "/photos"} if name == "folder" else {}
    short: dict[str, Any] = {"method": method, "student": "resnet20"} | ({"teacher": "resnet8x4"} if taught else {})
    return short | {part: {"name": name, **path, **more}}


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry["fingerprint"])
def test_finished_runs_of_earlier_versions_keep_their_fingerprint(entry: dict[str, Any]) -> None:
    spec = ExperimentSpec.from_mapping(entry["experiment"])
    assert spec.fingerprint() == entry["fingerprint"]
    assert ExperimentSpec.from_yaml(spec.to_yaml()).fingerprint() == entry["fingerprint"]


@pytest.mark.parametrize(("part", "registry", "name"), ENTRIES, ids=[f"{part}-{name}" for part, _, name in ENTRIES])
def test_an_entry_may_gain_a_setting(
    part: str, registry: Registry[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ExperimentSpec.from_mapping(using(part, name))
    gains(registry, name, 0.5, monkeypatch)
    after = ExperimentSpec.from_mapping(using(part, name))
    assert after.flat()[f"{part}.later"] == 0.5, "the setting is not there"
    assert after.fingerprint() == before.fingerprint()
    assert ExperimentSpec.from_yaml(before.to_yaml()) == after
    assert ExperimentSpec.from_mapping(using(part, name, later=0.7)).fingerprint() != before.fingerprint()


@pytest.mark.parametrize(("part", "registry", "name"), ENTRIES, ids=[f"{part}-{name}" for part, _, name in ENTRIES])
def test_what_was_written_before_is_read_as_it_was_meant_where_the_default_is_another(
    part: str, registry: Registry[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ExperimentSpec.from_mapping(using(part, name))
    gains(registry, name, 0.9, monkeypatch)
    read = ExperimentSpec.from_yaml(before.to_yaml())
    assert (read.flat()[f"{part}.later"], read.fingerprint()) == (0.5, before.fingerprint())
    new = ExperimentSpec.from_mapping(using(part, name))
    assert new.flat()[f"{part}.later"] == 0.9 and new.fingerprint() != before.fingerprint()
    assert ExperimentSpec.from_yaml(new.to_yaml()) == new


def test_a_method_put_by_name_into_what_was_written_before_has_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    written = ExperimentSpec.from_mapping(using("method", "kd")).model_dump(mode="json")
    gains(METHODS, "dkd", 0.9, monkeypatch)
    assert ExperimentSpec.from_mapping(written | {"method": "dkd"}).flat()["method.later"] == 0.9
    assert ExperimentSpec.from_mapping(written | {"method": {"name": "dkd"}}).flat()["method.later"] == 0.9


@pytest.mark.parametrize("part", ["data", "recipe", ""])
@pytest.mark.parametrize("method", METHODS.names())
def test_what_all_experiments_have_may_gain_a_setting(part: str, method: str) -> None:
    kinds = {"data": DataSpec, "recipe": RecipeSpec}
    fields: Any = {part: (later(kinds[part]), ...)} if part else {"later": (float, setting(0.5, **LATER))}
    Gained = pydantic.create_model("ExperimentSpec", __base__=ExperimentSpec, **fields)
    mapping = using("method", method)
    before = ExperimentSpec.from_mapping(mapping)
    assert Gained.from_mapping(mapping).fingerprint() == before.fingerprint()
    moved = {part: {"later": 0.7}} if part else {"later": 0.7}
    assert Gained.from_mapping(mapping | moved).fingerprint() != before.fingerprint()


def test_a_teachers_neutral_settings_stay_out_too() -> None:
    def taught(**recipe: Any) -> str:
        teacher = {"spec": {"student": "resnet20", "method": "none", "recipe": recipe}}
        return ExperimentSpec.from_mapping({"method": "kd", "teacher": teacher}).fingerprint()

    assert taught() == taught(mixup=0, accumulate=1) != taught(mixup=0.1)


def all_settings() -> list[Any]:
    entries = [registry.get(name) for registry in (DATASETS, MODELS, METHODS) for name in registry.names()]
    return [ExperimentSpec, DataSpec, RecipeSpec, *(entry.Params for entry in entries)]


def test_every_neutral_value_is_one_that_the_setting_takes() -> None:
    found = 0
    for settings in all_settings():
        for name, value in neutral_values(settings).items():
            field = settings.model_fields[name]
            taken = pydantic.TypeAdapter(pydantic.create_model("One", one=(field.annotation, field)))
            assert taken.validate_python({"one": value}).one == value, f"{settings.__name__}.{name}"
            found += 1
    assert found >= 8
