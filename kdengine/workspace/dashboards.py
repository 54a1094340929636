"""What a running dashboard leaves in its workspace for its own user: where it is, and the token that opens it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from kdengine.processes import is_alive
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity


class Record:
    """The file ``ui-PORT.json``, which only its owner can read.

    Args:
        workspace: whose dashboard it is.
        port: that it listens on.
    """

    def __init__(self, workspace: Workspace, port: int) -> None:
        self.path = workspace.root / f"ui-{port}.json"
        self.door = workspace.root / f"ui-{port}.html"

    def read(self) -> dict[str, Any]:
        """What a server left here that was killed, so that its pages go on; {} for nothing that can be trusted."""
        return _read(self.path)

    def write(self, **content: Any) -> None:
        """Keeps the content, and which process this is. Raises KdError where that cannot be written."""
        _write(self.path, json.dumps(content | {"process": process_identity()}, indent=2))

    def write_door(self, address: str) -> Path:
        """A page that leads to an address: a browser's command line, which everybody can read, names it instead."""
        _write(self.door, f'<!doctype html><meta http-equiv="refresh" content="0;url={address}"><title>kd</title>')
        return self.door

    def remove(self) -> None:
        """At the end of the server; leaves what another wrote since."""
        if self.read().get("process") == process_identity():
            self.path.unlink(missing_ok=True)
            self.door.unlink(missing_ok=True)


def at_work(workspace: Workspace) -> list[dict[str, Any]]:
    """What the dashboards of this user and workspace, that run on this machine, wrote of themselves."""
    found = [_read(path) for path in sorted(workspace.root.glob("ui-*.json"))]
    return [content for content in found if is_alive(content.get("process", {}))]


def _read(path: Path) -> dict[str, Any]:
    """A file of our own that nobody else can read: another's could hold a token that the other knows."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return {}
    with os.fdopen(descriptor) as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            return {}
        try:
            content = json.load(file)
        except ValueError:
            return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, text: str) -> None:
    with files.disk_errors(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        temporary.replace(path)
