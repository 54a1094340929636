"""Imports run one way, floor by floor and without a circle; what is heavy or foreign stays in its room."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From the top down: a room imports from its own floor and from those below it.
FLOORS = (
    {"app", "studies", "runner", "cli", "commands", "__main__"},
    {"comparison", "inspection", "tracking", "export", "bench", "testing"},
    {"assembly", "forecast"},
    {"jobs", "training", "evaluation", "teachers", "tuning"},
    {"methods", "models", "data"},
    {"fields", "figures", "health", "losses", "optimizers", "spec"},
    {"machine", "registry", "workspace"},
    {"csv_cells", "errors", "extras", "import_path", "plugins", "processes", "starting", "units"},
)
FLOOR_OF = {room: len(FLOORS) - number for number, floor in enumerate(FLOORS) for room in floor}


def modules() -> list[Path]:
    found = [path for package in ("kdengine", "studies", "app") for path in (ROOT / package).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, inside functions and for type checkers too."""
    for node in ast.walk(parsed(path)):
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


def imported_at_once(path: Path) -> Iterator[str]:
    """The modules that a file imports before its own functions can be called."""
    for node in parsed(path).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if file_of(below) is not None else str(node.module)


def file_of(dotted: str) -> Path | None:
    """The file of a module of ours; None for a package's front door, which imports its own files, and for others'."""
    path = Path(*dotted.split(".")).with_suffix(".py")
    return path if (ROOT / path).is_file() else None


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {
        path: {found for name in imported_at_once(path) if (found := file_of(name)) is not None} for path in modules()
    }
    with_order = TopologicalSorter(graph)
    with_order.prepare()  # raises CycleError, which names the circle


def test_foreign_packages_stay_in_their_rooms() -> None:
    strangers = {str(path): packages for path in modules() if (packages := not_in_their_room(path))}
    assert not strangers


def not_in_their_room(path: Path) -> set[str]:
    packages = {name.split(".")[0] for name in imported(path)}
    found: set[str] = set()
    if path.parts[0] == "kdengine":
        found |= packages & {"gradio", "optuna", "app", "studies"}
    if path.parts[:2] != ("kdengine", "tracking"):
        found |= packages & {"mlflow"}
    if path.parts[:2] == ("app", "pages"):
        found |= packages & {"torch", "torchvision", "timm"}
    return found


def test_only_figures_draw() -> None:
    outside = [str(path) for path in modules() if "plotly" in {name.split(".")[0] for name in imported(path)}]
    assert [path for path in outside if not path.startswith("kdengine/figures/")] == []


def test_files_and_functions_stay_short() -> None:
    """A file of 400 lines, a function of 50 or, where a page is laid out, of 60, without its docstring."""
    long = {str(path): count for path in modules() if (count := len((ROOT / path).read_text().splitlines())) > 400}
    assert not long
    functions = [
        (f"{path}: {node.name}", _length(node), 60 if path.parts[0] == "app" else 50)
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert {name: length for name, length, most in functions if length >= most} == {}


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = function.body[0] if ast.get_docstring(function) else None
    described = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - described


def test_no_two_files_of_tests_share_a_name() -> None:
    """pytest could not collect both: its modules are named by their files alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
