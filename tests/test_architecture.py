"""Imports run one way, floor by floor and without a circle; what is heavy or foreign stays in its room."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import PATIENCE_S

ROOT = Path(__file__).parents[1]

# From the top down: a room imports from its own floor and from those below it.
FLOORS = (
    {"app", "studies", "runner", "cli", "commands", "__main__"},
    {"comparison", "inspection", "mirroring", "tracking", "disk", "export", "bench", "shortage"},
    {"launch", "assembly", "forecast"},
    {"jobs", "training", "evaluation", "teachers", "reopening"},
    {"spec", "methods", "models", "data"},
    {"figures", "losses", "registry"},
    {
        "artifact_paths",
        "children",
        "dashboards",
        "errors",
        "fields",
        "files",
        "machine",
        "recipes",
        "rundir",
        "states",
        "workspace",
        "yaml_text",
    },
)
FLOOR_OF = {room: len(FLOORS) - number for number, floor in enumerate(FLOORS) for room in floor}


def modules() -> list[Path]:
    found = [path for package in ("kdengine", "studies", "app") for path in (ROOT / package).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found)


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relative to itself"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(dotted: str) -> str:
    """The room of a dotted name; "" for what is not ours and for the engine's front door."""
    parts = dotted.split(".")
    if parts[0] in ("app", "studies"):
        return parts[0]
    if parts[0] != "kdengine" or len(parts) < 2:
        return ""
    places = (ROOT / "kdengine" / parts[1], ROOT / "kdengine" / f"{parts[1]}.py")
    return parts[1] if any(place.exists() for place in places) else ""


def room_of_file(path: Path) -> str:
    return room_of(".".join(path.with_suffix("").parts)) if path != Path("kdengine/__init__.py") else ""


def links() -> set[tuple[str, str, str]]:
    """(room, room it imports, file) for all that leaves a room."""
    found = set()
    for path in modules():
        own = room_of_file(path)
        found |= {(own, room_of(name), str(path)) for name in imported(path) if own and room_of(name) not in ("", own)}
    return found


def test_every_room_has_its_floor() -> None:
    rooms = {room_of_file(path) for path in modules()} - {""}
    assert rooms <= set(FLOOR_OF), f"place {rooms - set(FLOOR_OF)} on a floor above, and in the design"


def test_imports_run_downwards() -> None:
    upwards = [f"{file}: {a} imports {b}" for a, b, file in links() if FLOOR_OF[a] < FLOOR_OF[b]]
    assert not upwards


def test_there_is_no_circle() -> None:
    below: dict[str, set[str]] = {}
    for a, b, _ in links():
        below.setdefault(a, set()).add(b)

    def walk(room: str, way: tuple[str, ...]) -> None:
        assert room not in way, f"a circle: {' -> '.join((*way, room))}"
        for other in sorted(below.get(room, ())):
            walk(other, (*way, room))

    for room in sorted(below):
        walk(room, ())


@pytest.mark.parametrize("path", modules(), ids=str)
def test_foreign_packages_stay_in_their_rooms(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(path)}
    if path.parts[0] == "kdengine":
        assert not packages & {"gradio", "optuna", "app", "studies"}
    if path != Path("kdengine/tracking.py"):
        assert "mlflow" not in packages
    if path.parts[:2] == ("app", "pages"):
        assert not packages & {"torch", "torchvision", "timm"}


def test_only_figures_draw() -> None:
    outside = [str(path) for path in modules() if "plotly" in {name.split(".")[0] for name in imported(path)}]
    assert [path for path in outside if not path.startswith("kdengine/figures/")] == []


def test_pages_load_without_torch() -> None:
    pages = [f"app.pages.{path.stem}" for path in (ROOT / "app" / "pages").glob("*.py") if path.stem != "__init__"]
    assert pages
    script = f"import sys, {', '.join(pages)}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr or "a page imports torch"
