"""``kd`` with a note of every event handler that a page ran, from which control, and of those that failed.

Started instead of ``python -m kdengine`` with ``KD_NOTES`` naming a folder. `handlers.json` there lists every handler;
`ran.txt` gets a line for each call, `failed.txt` one for each that raised what no page expects.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

NOTES = "KD_NOTES"
HANDLERS, RAN, FAILED = "handlers.json", "ran.txt", "failed.txt"


def key(number: int, block: Any) -> str:
    """Names a handler, and the control it was called from where there are several."""
    return f"{number} {block}"


def main() -> int:
    """Runs ``kd`` in this process, its pages watched."""
    import app.pages.site

    folder = Path(os.environ[NOTES])
    build = app.pages.site.build

    def noted(*arguments: Any, **options: Any) -> Any:
        site = build(*arguments, **options)
        (folder / HANDLERS).write_text(json.dumps(_handlers(site)))
        _watch(folder)
        return site

    app.pages.site.build = noted
    from kdengine.cli import main as kd

    return kd(sys.argv[1:])


def _handlers(site: Any) -> list[dict[str, Any]]:
    """Key, name in words, and whether the browser alone runs it, of every handler and control."""
    listed = []
    for number, handler in site.fns.items():
        for block, event in handler.targets:
            first = _first(site, handler)
            root, root_event = next(iter(first.targets))
            follows = " then" if first is not handler else ""
            control = (root, root_event) if follows else (block, event)
            name = f"{handler.page or 'begin'}: {_called(site, control[0])}.{control[1]}{follows}"
            name += f" ({getattr(handler.fn, '__qualname__', 'browser')})" if handler.fn else ""
            several = len(handler.targets) > 1
            listed.append(
                {
                    "key": key(number, block if several else ""),
                    "name": name,
                    "control": _called(site, control[0]),
                    "browser": handler.fn is None,
                }
            )
    return listed


def _first(site: Any, handler: Any) -> Any:
    while handler.trigger_after is not None:
        handler = site.fns[handler.trigger_after]
    return handler


def _called(site: Any, block: int | None) -> str:
    component = site.blocks.get(block)
    return getattr(component, "elem_id", None) or type(component).__name__.lower()


def _watch(folder: Path) -> None:
    import gradio as gr

    original = gr.Blocks.process_api

    async def process_api(self: Any, block_fn: Any, *arguments: Any, **options: Any) -> Any:
        handler = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        data = options.get("event_data")
        block = getattr(getattr(data, "target", None), "_id", "")
        _add(folder / RAN, key(handler._id, block if len(handler.targets) > 1 else ""))
        try:
            return await original(self, block_fn, *arguments, **options)
        except gr.Error:
            raise
        except Exception as error:
            _add(folder / FAILED, f"{getattr(handler.fn, '__qualname__', handler._id)}: {error!r}")
            raise

    gr.Blocks.process_api = process_api  # type: ignore[method-assign]


def _add(file: Path, line: str) -> None:
    with file.open("a") as out:
        out.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
