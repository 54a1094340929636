"""Processes: which one is which, and what a child does so that it does not outlive its parent."""

from __future__ import annotations

import getpass
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil


def live_with_parent(parent: int, look_s: float) -> None:
    """To be called once, at the start of a child: leaves Ctrl-C to the parent, and ends with it, however that ends.

    Args:
        parent: process id of the parent, as the parent itself gave it: it may be gone before the child asks.
        look_s: seconds between two looks whether the parent is there.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent, look_s), daemon=True).start()


def _leave_with(parent: int, look_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(look_s)
    os._exit(0)


def boot_id() -> str:
    """Identifies this boot of this machine, so that a process id of an earlier one is never mistaken."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot-{int(psutil.boot_time())}"


def user_name() -> str:
    """Name of the user this process runs as, or its number where it has no name (containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user-{os.getuid()}"


def is_alive(identity: Mapping[str, Any]) -> bool:
    """Whether exactly the process of that identity still runs (a zombie does not), for whatever workspace."""
    pid, created = identity.get("pid"), identity.get("create_time")
    if not isinstance(pid, int) or pid <= 0 or not isinstance(created, int | float):
        return False
    if identity.get("boot_id") != boot_id():
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
