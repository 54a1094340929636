"""Writing files so that a reader, a crash or a second writer never sees half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from kdengine.errors import DamagedFile, DiskFull, KdError

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = 64 << 10
"""Bytes: with fewer free, a library that could not write its file has met a full disk, whatever it says."""
LOCK_LOOK_S = 0.05
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's "no space" and "read-only" into errors a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"no space is left on the disk that holds {path.parent}") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise KdError(f"cannot write {path}: {os.strerror(error.errno or 0)}; choose another KD_HOME") from error
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; on success it is synced and renamed onto ``path``."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's: its files are for their owner alone, and a lab shares a workspace as its umask says.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        temporary.touch(exist_ok=False)
        try:
            with _full_in_words(path):
                yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _full_in_words(path: Path) -> Iterator[None]:
    """Libraries that write files themselves say in ways of their own that there is no room."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, KdError) or (isinstance(error, OSError) and error.errno is not None)
        if not known and is_full(path.parent):
            raise DiskFull(f"no space is left on the disk that holds {path.parent}") from error
        raise


def is_full(folder: Path) -> bool:
    """Whether the disk that holds a folder has no room for anything any more."""
    return shutil.disk_usage(folder).free < NO_ROOM


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Yields a folder beside the one wanted; on success it is renamed to that, which may exist when it is empty."""
    place = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    with disk_errors(folder):
        place.mkdir(parents=True)
        try:
            yield place
            place.replace(folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes a whole text file (UTF-8) atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically, indented, keys in the order given."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """Reads a JSON file of ours, which holds a mapping; ``default`` when it does not exist.

    Raises DamagedFile for anything else that lies there.
    """
    try:
        content = json.loads(read_text(path, "JSON"))
    except FileNotFoundError:
        return default
    except json.JSONDecodeError as error:
        raise DamagedFile(f"{path} is damaged: found no JSON ({error})") from error
    if not isinstance(content, dict):
        raise DamagedFile(f"{path} is damaged: found {_KINDS.get(type(content), 'something')}, expected a mapping")
    return content


def read_text(path: Path, kind: str) -> str:
    """Reads a text file of ours; raises FileNotFoundError, or DamagedFile when it is empty, no text or not readable.

    Args:
        path: of the file.
        kind: what it should hold, for the message: "JSON", "YAML".
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DamagedFile(f"{path} is damaged: found no {kind} ({why})") from error
    if not text.strip("\0 \n"):
        raise DamagedFile(f"{path} is damaged: found {'zeros' if text else 'an empty file'}, expected {kind}")
    return text


def read_yaml(text: str) -> Any:
    """The value of a text that this program wrote, by libyaml where PyYAML has it: eight times as fast.

    Not for what people write (`kdengine.spec.yaml_text.read_yaml`): YAML's traps are not looked for.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    import yaml

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@contextmanager
def lock(path: Path, *, blocking: bool = True, wait_s: float = 0.0) -> Iterator[bool]:
    """Holds an exclusive lock between processes; it dies with the process that holds it.

    Yields True when held; with ``blocking=False`` yields False when another process has it for ``wait_s`` seconds on.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _file_lock(path)
        mine = True
        try:
            held.acquire(timeout=-1 if blocking else wait_s, poll_interval=LOCK_LOOK_S)
        except Timeout:
            mine = False
    try:
        yield mine
    finally:
        held.release()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock at this moment; makes nothing. Who asks holds it for an instant himself."""
    if not path.is_file():
        return False
    asked = _file_lock(path)
    try:
        asked.acquire(timeout=0)
    except Timeout:
        return True
    asked.release()
    return False


def _file_lock(path: Path) -> BaseFileLock:
    # Two holders in one process are two holders, whatever thread asks.
    return FileLock(path, thread_local=False, is_singleton=False)


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
