"""Fetches a published file: resumable, checksum-verified, renamed into place only when whole and right."""

from __future__ import annotations

import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kdengine.data.progress import progress
from kdengine.errors import DataError
from kdengine.workspace import files

log = logging.getLogger(__name__)

MIRROR_VARIABLE = "KD_DATA_URL"
ATTEMPTS = 5
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 1.0
_CHUNK = 1 << 18
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RemoteFile:
    """A file on the net.

    Args:
        url: where it is published; its last part is the file's name.
        md5: published checksum, hex.
        folder: folder below the data root where it is kept ("" = the root itself).
        size: published length in bytes, None when it is not known.
    """

    url: str
    md5: str
    folder: str = ""
    size: int | None = None

    @property
    def filename(self) -> str:
        """Its name, here and there."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def place(self) -> str:
        """Where it lies below the data root, and on a mirror."""
        return f"{self.folder}/{self.filename}" if self.folder else self.filename

    def path(self, root: Path) -> Path:
        """Where it lies under the data root."""
        return root / self.place

    def is_here(self, root: Path) -> bool:
        """Whether a file of the right size lies there; its checksum is for ``fetch`` to read."""
        path = self.path(root)
        return path.is_file() and self.size in (None, path.stat().st_size)

    def current_url(self) -> str:
        """The published address, or that on the mirror which KD_DATA_URL names: a data root that somebody serves."""
        mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
        return f"{mirror.rstrip('/')}/{self.place}" if mirror else self.url


def fetch(remote: RemoteFile, root: Path) -> Path:
    """The file's path under ``root``, downloaded unless it is there already.

    Two processes may ask at once: one downloads, the other waits. A download that was cut off goes on where it stopped.
    Raises DataError when it cannot be had or its checksum is wrong, saying how to place it by hand.
    """
    path = remote.path(root)
    with files.disk_errors(path), files.lock(path.with_name(f".{path.name}.lock")):
        if path.is_file():
            _check_present(remote, path)
        else:
            _download(remote, path)
    return path


def _check_present(remote: RemoteFile, path: Path) -> None:
    found = files.digest(path, "md5")
    if found != remote.md5:
        raise DataError(
            f"{path} is not the published file: its MD5 is {found}, expected {remote.md5}; "
            "delete it to download it again"
        )


def _download(remote: RemoteFile, path: Path) -> None:
    url = remote.current_url()
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{MIRROR_VARIABLE} must begin with http:// or https://, found {url!r}")
    part = path.with_name(path.name + ".part")
    resumed = part.exists()
    _fill(remote, url, part)
    found = files.digest(part, "md5")
    if found != remote.md5 and resumed:
        log.warning("the resumed download of %s has a wrong checksum; starting it over", remote.filename)
        part.unlink()
        _fill(remote, url, part)
        found = files.digest(part, "md5")
    if found != remote.md5:
        part.unlink()
        raise DataError(
            f"the download of {url} is not the published file: its MD5 is {found}, "
            f"expected {remote.md5}; nothing was kept. " + _by_hand(remote, path)
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _fill(remote: RemoteFile, url: str, part: Path) -> None:
    """Downloads into ``part`` until the server says that it is complete, resuming after a lost connection."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            log.warning("download of %s was interrupted (%s); attempt %d of %d", url, reason, attempt + 1, ATTEMPTS)
            time.sleep(PAUSE_SECONDS * attempt)
        try:
            if _receive(url, part):
                return
            reason = "the connection closed before the end"
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            error.close()
            if error.code == 416:  # what we hold is longer than the file: begin anew
                part.unlink(missing_ok=True)
            elif error.code not in _WORTH_RETRYING:
                break
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    final = part.with_name(remote.filename)
    raise DataError(f"cannot download {url}: {reason}. {_by_hand(remote, final)}")


def _receive(url: str, part: Path) -> bool:
    """One connection. Returns whether the whole file is in ``part`` now, as far as the server says."""
    held = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
        start = _start_of(reply.status, reply.headers.get("Content-Range", ""))
        if start != held:
            held = 0  # the server ignored the range and sends everything
        length = reply.headers.get("Content-Length")
        total = held + int(length) if length else None
        name = url.rsplit("/", 1)[-1]
        with part.open("ab" if held else "wb") as file, progress(name, total, bytes_=True, done=held) as advance:
            try:
                while chunk := reply.read(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                return False
    return total is None or part.stat().st_size >= total


def _start_of(status: int, content_range: str) -> int:
    """The offset at which the server's reply begins."""
    match = re.match(r"bytes (\d+)-", content_range)
    return int(match.group(1)) if status == 206 and match else 0


def _by_hand(remote: RemoteFile, path: Path) -> str:
    return (
        f"To place it by hand, get {remote.url} (MD5 {remote.md5}) from where you can and save it as {path}; or set "
        f"{MIRROR_VARIABLE} to the address of a mirror that holds {remote.place}"
    )
