"""The README and the pages: every link leads to a file or a heading that is there; the README stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
PAGES = [ROOT / name for name in _OUTSIDE]
PAGES += sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")


def anchors(page: Path) -> set[str]:
    """The headings of a page as the common git host names them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        place, _, heading = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not heading or heading in anchors(target), f"{link}: no such heading, there are {anchors(target)}"


def test_every_page_can_be_reached_from_the_first() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(page.read_text())]
    assert set(PAGES) - seen == {ROOT / "docs" / "index.md"}  # the first page of the site, where README is not


def test_the_readme_is_read_in_a_minute() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 150 and max(map(len, lines)) <= 140


def test_the_numbers_of_the_readme_on_speed_are_those_of_the_page() -> None:
    """README says the ends of the columns of docs/results/speed.md in words."""
    lines = (ROOT / "docs/results/speed.md").read_text().splitlines()
    rows = [line.split(" | ")[2:] for line in lines if line.startswith(("| resnet", "|  |"))]
    columns = [[float(cell.split()[0]) for cell in column] for column in zip(*rows, strict=True)]
    said = (ROOT / "README.md").read_text().replace("\n", " ")
    for name, column, form in (
        ("an mdistiller-style loop", columns[2], "{:.1f} to {:.1f} times the images/s of"),
        ("with cached teacher logits", columns[5], "{:.0f} to {:.0f} times"),
        ("timm's compiled task at", columns[1], "timm's compiled task at {:.1f} to {:.1f}"),
    ):
        assert form.format(min(column), max(column)) in said, f"README on {name}: now {min(column)} to {max(column)}"
