"""What a worker runs in a test: it answers with its process, and says that it has a CUDA context or has none."""

from __future__ import annotations

import os
import time
from typing import Any


def run(task: str, home: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    if task == "slow":
        time.sleep(arguments[0])
    return {"result": os.getpid(), "on_gpu": task != "on the CPU"}
