"""The frame around every task in the worker process: its start, its run, its errors as plain values."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import Any

from app.tasks.registry import TASKS
from kdengine.errors import BadInput, KdError
from kdengine.machine.visible import ORDER
from kdengine.processes import live_with_parent
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

WATCH_S = 2.0


def start(server: int) -> None:
    """Runs once in the worker: Ctrl-C is the server's business, and no worker outlives a killed server."""
    for name, value in ORDER.items():
        os.environ.setdefault(name, value)
    live_with_parent(server, WATCH_S)


def run(task: str, home: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Runs a task; errors come back as plain values, so that nothing of them is lost between processes.

    Beside ``result``, ``problems`` or ``error`` it has ``on_gpu``: whether this process has a CUDA context now.
    """
    try:
        reply = {"result": TASKS[task](Workspace(home), *arguments)}
    except BadInput as error:
        reply = {"problems": [(problem.field, problem.message) for problem in error.problems]}
    except KdError as error:
        reply = {"error": str(error)}
    except Exception as error:
        log.exception("the task %s failed", task)
        reply = {"error": f"{type(error).__name__}: {error}"}
    return reply | {"on_gpu": _tidy_up()}


def _tidy_up() -> bool:
    """Gives the memory on the GPU back that the task has freed; whether there is a context left, which only goes with
    the process."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    gc.collect()
    torch.cuda.empty_cache()
    return True
