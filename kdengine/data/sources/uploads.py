"""Archives of one's own images that were uploaded: kept whole and readable, or not at all; and which ones there are."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

from kdengine.data.sources.examine import Found, Progress, check_archive
from kdengine.data.sources.names import is_text
from kdengine.errors import BadInput, DiskFull, KdError
from kdengine.workspace import files

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
MAX_NAME_BYTES = 120

_UNDER_WAY = ".upload-"
_FORGOTTEN_S = 24 * 3600
_SHARE_OF_COPY = 0.2
_KINDS_KEPT = "LMN"  # letters, marks and numbers of all scripts
_SIGNS_KEPT = "._-"


class Kept(NamedTuple):
    """An upload: where it is, and what it holds."""

    path: Path
    found: Found


def keep_upload(own: Path, source: Path, name: str, progress: Progress | None = None) -> Kept:
    """Copies an uploaded archive to one's own sources, when it reads as a data set of images.

    It has a hidden name until it is whole and looked at (`check_archive`); whatever goes wrong, nothing stays.

    Args:
        own: the folder of one's own sources; made when it is not there.
        source: the uploaded file, left as it is.
        name: what the person called it.
        progress: called now and then with the share done, 0..1, and what is going on.

    Returns:
        Where it is and what it holds; the name is `clean_name` of the one given, with a number before it when there is
        one already.

    Raises:
        BadInput: no archive, no data set of images, no room; says why.
    """
    name = clean_name(name)
    report = progress or (lambda share, what: None)
    try:
        with files.disk_errors(own / name):
            own.mkdir(parents=True, exist_ok=True)
            _sweep(own)
            hidden = own / f"{_UNDER_WAY}{secrets.token_hex(6)}"
            try:
                report(0.0, "copying")
                shutil.copyfile(source, hidden)
                found = check_archive(
                    hidden, lambda share, what: report(_SHARE_OF_COPY + (1 - _SHARE_OF_COPY) * share, what), name=name
                )
                return Kept(_reveal(hidden, own, name), found)
            finally:
                hidden.unlink(missing_ok=True)
    except BadInput:
        raise
    except DiskFull as error:
        raise BadInput(
            f"{name} cannot be kept: no space is left on the disk of the workspace; delete old runs"
        ) from error
    except (KdError, OSError) as error:
        raise BadInput(f"{name} cannot be kept: {error}") from error


def sources(own: Path) -> list[Path]:
    """The folders and archives in there, sorted; without hidden ones, half an upload perhaps.

    Neither those whose name is no UTF-8, which no spec can hold.
    """
    try:
        return sorted(path for path in own.iterdir() if _is_source(path))
    except OSError:
        return []


def clean_name(name: str) -> str:
    """A name for a file: letters and digits of all scripts, ``._-``, the ending of an archive; at most 120 bytes."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])
    name = "-".join("".join(sign if _is_kept(sign) else " " for sign in name).split())
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    stem = name[: len(name) - len(suffix)]
    suffix = suffix or ".zip"  # what it is, its first bytes say
    stem = stem.lstrip(".-").encode()[: MAX_NAME_BYTES - len(suffix)].decode(errors="ignore").rstrip(".-")
    return (stem or "images") + suffix


def _is_kept(sign: str) -> bool:
    return sign in _SIGNS_KEPT or unicodedata.category(sign)[0] in _KINDS_KEPT


def _is_source(path: Path) -> bool:
    if path.name.startswith(".") or not is_text(path.name):
        return False
    try:
        return path.is_dir() or path.name.lower().endswith(SUFFIXES)
    except OSError:
        return False


def _reveal(hidden: Path, own: Path, name: str) -> Path:
    """Gives the file its name, or that name with a number, whichever is free."""
    with hidden.open("rb+") as file:
        os.fsync(file.fileno())
    with files.lock(own / ".lock"):
        target, number = own / name, 1
        while target.exists():
            number += 1
            target = own / f"{number}-{name}"
        return hidden.rename(target)


def _sweep(own: Path) -> None:
    """Removes what uploads left that were killed."""
    for path in own.glob(f"{_UNDER_WAY}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                path.unlink()
