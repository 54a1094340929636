"""Gradio is imported without writing stub files, and works all the same."""

from __future__ import annotations

import subprocess
import sys

from support import PATIENCE_S

SCRIPT = """
from app.server import stubs
stubs.leave_out()
import gradio
from gradio import component_meta
assert component_meta.create_or_modify_pyi.__module__ == "app.server.stubs", "Gradio writes its stubs elsewhere now"
with gradio.Blocks() as blocks:
    gradio.Textbox().change(lambda text: text)
assert len(blocks.fns) == 1
"""


def test_gradio_is_imported_without_writing_stubs() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
