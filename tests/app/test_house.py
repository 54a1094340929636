"""The files of the dashboard stay small, and what they are made of."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_S

from app.tasks.registry import TASKS

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "app").rglob("*.py"))
HANDLERS = [path for path in FILES if path.name.endswith("handlers.py")]


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "handlers.py" or "_handlers" in path.name], ids=str
)
def test_handlers_know_nothing_of_a_request(path: Path) -> None:
    """They take plain values: what Gradio alone knows of a visit is read where the page is wired."""
    named = {
        node.attr for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Attribute)
    }  # fmt: skip
    assert not named & {"Request", "EventData", "SelectData"}


def test_every_file_of_the_pages_loads_without_torch() -> None:
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    pages = [name for name in modules if name.startswith(("app.pages.", "app.tasks."))]
    assert len(pages) > 40
    script = f"import sys, {', '.join(pages)}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr or "a page imports torch"


def test_every_task_that_is_called_is_there_and_none_is_left_over() -> None:
    calls = [node for path in FILES for node in ast.walk(ast.parse((ROOT / path).read_text())) if _is_call(node)]
    assert {call.args[0].value for call in calls} == set(TASKS)  # type: ignore[attr-defined]


def _is_call(node: ast.AST) -> bool:
    """Whether it is ``worker.call("task", ...)``."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call"
    return named and bool(node.args) and isinstance(node.args[0], ast.Constant)


def test_a_class_looks_as_one_style_sheet_says() -> None:
    """All sheets are loaded on every page: two that style one class would each spoil the other's page."""
    sheets: dict[str, set[str]] = {}
    for sheet in (ROOT / "app" / "assets" / "style").glob("*.css"):
        for name in re.findall(r"(?:^|})\s*\.(kd-[a-z0-9-]+)\s*{", sheet.read_text(), re.MULTILINE):
            sheets.setdefault(name, set()).add(sheet.name)
    assert len(sheets) > 50
    assert {name: found for name, found in sheets.items() if len(found) > 1} == {}
