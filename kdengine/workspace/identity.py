"""Which folder is which workspace, moved or copied, and which process works for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from kdengine.processes import boot_id, is_alive


def home_identity(root: Path) -> str:
    """Names a workspace: device, inode and path of its folder. `mv` keeps the first two, a copy has others."""
    return f"{_folder_identity(root)}:{root}"


def same_home(named: str | None, root: Path) -> bool:
    """Whether ``named``, what `home_identity` said once, is the workspace at ``root``, moved or not.

    None counts as the same: earlier versions did not name the workspace.
    """
    return named is None or named.split(":")[:2] == _folder_identity(root).split(":")


def home_path(named: str) -> str:
    """The path in what `home_identity` said."""
    return named.split(":", 2)[-1]


def _folder_identity(root: Path) -> str:
    try:
        found = root.stat()
    except OSError:
        return "gone:gone"
    return f"{found.st_dev}:{found.st_ino}"


def process_identity(pid: int | None = None, home: Path | None = None) -> dict[str, Any]:
    """(pid, create time, boot id) of a process, by default this one; create_time 0 when it is gone already.

    Args:
        pid: of the process.
        home: root of the workspace that it works for; named too, so that a copy of the workspace does not claim it.
    """
    pid = os.getpid() if pid is None else pid
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    named = {} if home is None else {"workspace": home_identity(home)}
    return {"pid": pid, "create_time": created, "boot_id": boot_id()} | named


def works_for(identity: Mapping[str, Any], home: Path) -> bool:
    """Whether the process of that identity still runs, and for the workspace at ``home``, not for one it is copied
    from."""
    return same_home(identity.get("workspace"), home) and is_alive(identity)
