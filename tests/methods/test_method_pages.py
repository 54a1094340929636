"""The pages on the methods: each method has one, and their tables say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from kdengine.methods import BadInput, get_method, in_page, list_methods, settings_table
from kdengine.testing import trial_of

PAGES = Path(__file__).parents[2] / "docs" / "methods"
WRITTEN = sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")


def test_the_index_lists_every_method() -> None:
    index = (PAGES / "README.md").read_text()
    # Other packages, and other tests, may register methods of their own.
    built_in = {name for name in list_methods() if get_method(name).__module__.startswith("kdengine.")}
    assert set(re.findall(r"^\| \[`(\w+)`\]\(\1\.md\)", index, re.MULTILINE)) == built_in


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_names_every_parameter(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    missing = [key for key in get_method(name).Params.model_fields if f"`{key}`" not in page]
    assert not missing


@pytest.mark.parametrize("name", WRITTEN)
def test_the_table_of_settings_is_what_the_code_says(name: str) -> None:
    page, table = (PAGES / f"{name}.md").read_text(), settings_table(name)
    assert not table or in_page(page, table) == page, "stale: run python docs/tables.py and commit what it writes"


def test_a_table_says_default_bounds_range_and_source() -> None:
    rows = settings_table("dcad").splitlines()
    assert "| `alpha` | 1 | [0, 100] | 0.25 .. 4, log | mdistiller, CIFAR-100 configurations |" in rows
    assert "| `warmup` | 0.08333 | [0, 1] | 0 .. 0.5 | mdistiller: 20 of 240 epochs |" in rows
    assert any(
        row.startswith(r"| `kind` | correlation | correlation \| pearson \| gram |  | our choice") for row in rows
    )
    assert settings_table("none") == ""


def test_a_table_that_is_stale_is_named_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in PAGES.glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text())
    page = tmp_path / "dkd.md"
    sound = page.read_text()
    page.write_text(sound.replace("| `beta` | 8 |", "| `beta` | 2 |"))
    spec = importlib.util.spec_from_file_location("tables", PAGES.parent / "tables.py")
    assert spec and spec.loader
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    monkeypatch.setattr(tables, "PAGES", tmp_path)
    assert tables.stale() == {page: sound}


def test_a_page_without_a_place_for_the_table_is_told_so() -> None:
    with pytest.raises(ValueError, match="no table of settings"):
        in_page("# A method\n", settings_table("kd"))


def test_the_index_says_who_has_a_teacher_takes_two_classes_and_mixes() -> None:
    index = (PAGES / "README.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\].*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", index, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == WRITTEN
    found = {name: (teacher != "no", two == "yes", mixes == "yes") for name, teacher, two, mixes in rows}
    wanted = {name: (_may_need_a_teacher(name), _takes_two_classes(name), get_method(name).mixes) for name in found}
    assert found == wanted


def _takes_two_classes(name: str) -> bool:
    try:
        trial_of(name, classes=2)
    except BadInput:
        return False
    return True


def _may_need_a_teacher(name: str) -> bool:
    method = get_method(name)
    choices: list[dict[str, Any]] = [{}]
    choices += [{"form": choice} for choice in ("reg", "self") if "form" in method.Params.model_fields]
    return any(method.requires(method.Params(**choice)).teacher for choice in choices)


@pytest.mark.parametrize("name", WRITTEN)
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page):
        assert (PAGES / target).exists(), target
    for place in re.findall(r"`(kdengine/[\w/]+(?:\.py|/))`", page):
        assert (PAGES.parents[1] / place).exists(), place
