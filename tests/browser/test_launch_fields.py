"""Every field of the Launch page does what it says: changed in the page, it stands in the command with that value.

The settings of single methods and networks are 180 more; they take a second each in a browser and are `long` here;
tests/app/test_launch_form.py goes through all of them without one.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from clicks import commanded, open_launch, pick, type_choice, wait_for
from dashboard import Dashboard
from playwright.sync_api import Page
from pydantic.fields import FieldInfo

from app.forms import controls_of
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec import DataSpec, ExperimentSpec, RecipeSpec, RuntimeSpec

pytestmark = pytest.mark.browser

Used = Callable[[str], None]

# What would be refused, or is no other value, if it were made up from the bounds alone.
CHOSEN: dict[str, Any] = {
    "recipe.milestones": [3, 7],
    "recipe.batch_size": 60,
    "recipe.accumulate": 3,
    "recipe.gamma": 0.3,
    "recipe.schedule": "step",
    "data.image_size": 20,
    "data.fraction": 0.9,
    "data.cutout": 4,
    "runtime.device": "cpu",
    "runtime.precision": "fp32",
    "runtime.keep_epochs": [2, 5],
    "title": "μ-test",
}


def bounds(info: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in info.metadata:
        found |= {name: value for name in ("gt", "ge", "lt", "le") if (value := getattr(item, name, None)) is not None}
    return found


def allowed(info: FieldInfo, value: float) -> bool:
    tests = {"gt": value.__gt__, "ge": value.__ge__, "lt": value.__lt__, "le": value.__le__}
    return all(tests[name](type(value)(bound)) for name, bound in bounds(info).items())


def plain(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return plain(next(option for option in get_args(annotation) if option is not type(None)))
    return (Literal, get_args(annotation)) if origin is Literal else ((origin or annotation), ())


def another(path: str, info: FieldInfo, now: Any) -> Any:
    """A value that the field takes and does not show now."""
    if path in CHOSEN:
        return CHOSEN[path]
    kind, choices = plain(info.annotation)
    if kind is Literal:
        return next(choice for choice in choices if choice != now)
    if kind is bool:
        return not now
    if kind is tuple:
        return [value + 1 for value in now] if now else [1]
    if kind is int:
        return next(value for value in ((now or 0) + 1, (now or 0) - 1, 2, 4) if value != now and allowed(info, value))
    if kind is float:
        start = float(now or 0)
        options = (round(start * 0.9, 6), start + 0.05, start - 0.05, start + 1.0)
        return next(value for value in options if value != start and allowed(info, value))
    return "something"


TYPE = """([element, value]) => {
  const field = document.querySelector(`#${element} input, #${element} textarea`);
  if (field.type === 'checkbox') { field.click(); return; }
  const kind = field.tagName === 'INPUT' ? HTMLInputElement : HTMLTextAreaElement;
  Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(field, value);
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.dispatchEvent(new Event('blur'));
}"""


def change_all(
    page: Page, fields: Mapping[str, tuple[str, FieldInfo]], used: Used, also: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Sets every field, by its element id, to another value, and waits until the command says all of it, and ``also``.

    A field of a method or network is compared with its default, which it shows when its group appears.
    """
    now = commanded(page)
    flat = now.flat() if now is not None and not also else {}
    wanted = {path: another(path, info, flat.get(path, _default(info))) for path, info in fields.values()}
    for element in list(fields)[:1]:
        page.wait_for_selector(f"#{element}")
    for element, (path, info) in fields.items():
        kind, _ = plain(info.annotation)
        value = wanted[path]
        if kind is Literal:
            pick(page, element, str(value))
        else:
            text = ", ".join(map(str, value)) if kind is tuple else str(value)
            page.evaluate(TYPE, [element, text])
    wanted |= also
    wait_for(lambda: not differing(page, wanted), lambda: f"{differing(page, wanted)}")
    for element in fields:
        used(element)


def differing(page: Page, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the command does not say as it should: path -> (wanted, found)."""
    spec = commanded(page)
    if spec is None:
        return {"problems": page.locator("#problems").inner_text()}
    flat = spec.flat()
    return {path: (value, flat.get(path)) for path, value in wanted.items() if not _same(flat.get(path), value)}


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float):
        return abs(found - wanted) < 1e-9
    return bool(list(found) == wanted) if isinstance(found, tuple | list) else bool(found == wanted)


def shared_fields() -> Iterator[tuple[str, FieldInfo]]:
    yield from controls_of(RecipeSpec, "recipe", ("name",))
    yield from controls_of(DataSpec, "data", ("name", "params"))
    yield from controls_of(RuntimeSpec, "runtime")
    yield from controls_of(ExperimentSpec, "", ("data", "teacher", "student", "method", "recipe", "runtime"))


def test_every_shared_field(dashboard: Dashboard, page: Page, used: Used) -> None:
    open_launch(page, dashboard.url)
    page.get_by_role("button", name="More").click()
    change_all(page, {"field-" + path.replace(".", "-"): (path, info) for path, info in shared_fields()}, used)


def test_every_setting_of_a_method(dashboard: Dashboard, page: Page, used: Used) -> None:
    """One whose settings decide whether there is a teacher at all."""
    _set_methods(dashboard, page, used, ["tf_kd"])


@pytest.mark.long
def test_every_setting_of_every_method(dashboard: Dashboard, page: Page, used: Used) -> None:
    _set_methods(dashboard, page, used, METHODS.names())


def _set_methods(dashboard: Dashboard, page: Page, used: Used, names: list[str]) -> None:
    open_launch(page, dashboard.url)
    for name in names:
        pick(page, "field-method-name", METHODS.get(name).title)
        change_all(page, own_fields("method", name, METHODS.get(name).Params), used, {"method.name": name})


@pytest.mark.long
def test_every_option_of_every_network_and_data_set(dashboard: Dashboard, page: Page, used: Used) -> None:
    open_launch(page, dashboard.url)
    page.get_by_role("button", name="More").click()
    for name in MODELS.names():
        fields = own_fields("student", name, MODELS.get(name).Params)
        if fields:
            type_choice(page, "field-student-name", name)
            change_all(page, fields, used, {"student.name": name})
    for name in DATASETS.names():
        fields = own_fields("data", name, DATASETS.get(name).Params)
        if fields:
            label = "my images: 动物.zip" if name == "folder" else DATASETS.get(name).title
            pick(page, "field-data", label)
            change_all(page, fields, used, {"data.name": name})


def own_fields(kind: str, name: str, params: Any) -> dict[str, tuple[str, FieldInfo]]:
    return {f"field-{name}-{path.split('.')[-1]}": (path, info) for path, info in controls_of(params, kind, ("path",))}
