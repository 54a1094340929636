"""The computations behind the pages, one module a page. They run in a worker process; only there is torch at work.

Every task takes the workspace and plain values and returns plain values (numbers, strings, bytes, PIL images). A
worker calls it by its name in `app.tasks.registry`.
"""

from __future__ import annotations

from app.tasks.process import run, start

__all__ = ["run", "start"]
