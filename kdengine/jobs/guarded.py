"""One step that fails must not end the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("kdengine.jobs.supervisor")


def guarded(step: Callable[..., None], *arguments: Any) -> bool:
    """Whether a step went well; what went wrong is logged: one job with a broken folder, or a full disk, must not end
    the supervision of the others."""
    try:
        step(*arguments)
    except Exception:
        subject = arguments[0].id if arguments else "the queue"
        log.exception("%s failed for %s", getattr(step, "__name__", step), subject)
        return False
    return True
