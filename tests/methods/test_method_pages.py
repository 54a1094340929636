"""The pages on the methods: each method has one, and their tables say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kdengine.methods import get_method, list_methods

PAGES = Path(__file__).parents[2] / "docs" / "methods"
WRITTEN = sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")
HEAD = "| parameter | default | allowed | searched | where the default comes from |"


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


@pytest.mark.parametrize("name", [name for name in WRITTEN if HEAD in (PAGES / f"{name}.md").read_text()])
def test_a_table_of_parameters_says_their_defaults(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|.*\|.*\|.*\|$", page.split(HEAD)[1].split("\n\n")[0], re.MULTILINE)
    fields = get_method(name).Params.model_fields.items()
    wanted = {key: f"{f.default:.4g}" if isinstance(f.default, float) else str(f.default) for key, f in fields}
    assert dict(rows) == wanted


@pytest.mark.parametrize("name", WRITTEN)
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page):
        assert (PAGES / target).exists(), target
    for place in re.findall(r"`(kdengine/[\w/]+(?:\.py|/))`", page):
        assert (PAGES.parents[1] / place).exists(), place
