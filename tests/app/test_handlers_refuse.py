"""Every event handler of every page, called with what it cannot take: one sentence comes back, and no traceback."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.pages.site import build
from app.worker import Workers
from kdengine.workspace import Workspace

NOBODY = "no-such-thing"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[gr.Blocks]:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "True")  # Gradio sets it
    home = tmp_path / "home"
    workers = Workers.of(str(home))
    yield build(Workspace(home), workers)
    workers.close()


def wrong(component: Any, text_file: Path) -> Any:
    """A value of the component's own form that names nothing there is, or is no number for its purpose."""
    if isinstance(component, gr.State):
        return component.value if not isinstance(component.value, str) else NOBODY
    if isinstance(component, gr.Dropdown):
        return [NOBODY] if component.multiselect else NOBODY
    if isinstance(component, gr.CheckboxGroup):
        return [NOBODY]
    if isinstance(component, gr.Checkbox):
        return False
    if isinstance(component, gr.Number | gr.Slider):
        return -1
    if isinstance(component, gr.File):
        return [str(text_file)] if component.file_count == "multiple" else str(text_file)
    if isinstance(component, gr.Image):
        return str(text_file)
    if isinstance(component, gr.HTML):
        return component.value if not isinstance(component.value, str) else NOBODY
    return NOBODY


def arguments(handler: Any, text_file: Path) -> list[Any]:
    values = [wrong(component, text_file) for component in handler.inputs]
    given: list[Any] = [dict(zip(handler.inputs, values, strict=True))] if handler.inputs_as_dict else list(values)
    for name, parameter in inspect.signature(handler.fn).parameters.items():
        kind = str(parameter.annotation)
        if "Request" in kind:
            query = dict.fromkeys(
                ("run", "clone", "study", "trial", "name", "with", "what", "epoch", "spec", "set"), NOBODY
            )
            request = gr.Request(session_hash="s")
            object.__setattr__(request, "kwargs", {"query_params": query, "session_hash": "s"})
            given.append(request)
        elif "EventData" in kind:
            given.append(gr.EventData(None, {"run": NOBODY}))
        assert name
    return given


def test_every_handler_refuses_in_one_sentence(
    site: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_file = tmp_path / "holiday.png"
    text_file.write_text("not an image")
    warned: list[str] = []
    for kind in ("Warning", "Info"):
        monkeypatch.setattr(gr, kind, lambda message, *_, **__: warned.append(message))
    failures = {}
    for number, handler in site.fns.items():
        if handler.fn is None:
            continue
        name = f"{number} {handler.page or 'launch'} {handler.fn.__qualname__}"
        warned.clear()
        try:
            answer = handler.fn(*arguments(handler, text_file))
            answers = list(answer) if inspect.isgenerator(answer) else [answer]
        except Exception as error:
            failures[name] = repr(error)[:300]
            continue
        last = answers[-1] if answers else None
        said = [part for part in (last if isinstance(last, list | tuple) else [last]) if isinstance(part, str)]
        alerts = sum(part.count('role="alert"') for part in said) + len(warned)
        if alerts > 1 or any("Traceback" in part or "Error(" in part for part in [*said, *warned]):
            failures[name] = f"{alerts} alerts: {said} {warned}"[:500]
    assert not failures, "\n".join(f"{name}: {what}" for name, what in failures.items())


WORKING = {"studies": {"confirm", "start", "measure"}, "demo": {"classify"}}
"""Pages with events that show progress at what they fill."""


def test_no_event_is_offered_to_programs_or_has_the_browser_track_progress(site: gr.Blocks) -> None:
    """What Gradio tracks once it walks through at each event after that, on every page."""
    tracked = {}
    for handler in site.fns.values():
        event = handler.get_config()
        assert event["api_visibility"] == "private", handler.name
        if event["show_progress_on"] != []:
            tracked.setdefault(handler.page, set()).add(handler.name)
    assert tracked == WORKING
